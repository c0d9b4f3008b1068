"""How far an approximation lies from the exact matrix, as a matrix and as what a step is taken with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.nn import functional

from kfc_bench.experiments.fidelity.damped import Damped

INDEFINITE = "not positive definite at this damping: no divergence, no step"
NO_GRADIENT = "the gradient is zero: no direction, no step"
NO_DECREASE = "the exact matrix's own step does not lower the loss"


@dataclass(frozen=True)
class Exact:
    """The exact matrix E of a network or a layer, and the step that it takes.

    Attributes:
        damped: E and E' = E + damping I.
        gradient: g of the mean loss, ``[n]``.
        kl: The most that 1/2 d^T E' d may come to.
        loss: The loss after a step ``[n]`` was subtracted from the parameters.
        here: The loss without.
    """

    damped: Damped
    gradient: Tensor
    kl: float
    loss: Callable[[Tensor], float]
    here: float

    @cached_property
    def natural(self) -> Tensor:
        """E'^-1 g, ``[n]``."""
        assert self.damped.inverse is not None, "a matrix of second moments is definite once damped"
        return self.damped.inverse @ self.gradient

    @cached_property
    def metric(self) -> Tensor:
        """E', ``[n, n]``."""
        return self.damped.sum

    @cached_property
    def size(self) -> float:
        """What 1/2 d^T E' d comes to for every step: `kl`, or the model's own minimum where that is nearer."""
        return min(self.kl, float(self.gradient @ self.natural) / 2)

    def step(self, natural: Tensor) -> Tensor:
        """Scale a direction to `size`."""
        return natural * math.sqrt(2 * self.size / float(natural @ self.metric @ natural))

    def decreases(self, natural: Tensor) -> tuple[float, float]:
        """Return by how much the step along a direction lowers the quadratic model, and the loss."""
        step = self.step(natural)
        return float(self.gradient @ step) - self.size, self.here - self.loss(step)

    @cached_property
    def best(self) -> tuple[float, float]:
        """`decreases` of the exact matrix."""
        return self.decreases(self.natural)


def compare(exact: Exact, found: Damped) -> dict[str, Any]:
    """Measure an approximation A by `FIDELITY_ROW_COLUMNS`, A' = A + damping I.

    Args:
        exact: E.
        found: A, of the same size and damping.

    Returns:
        ``frobenius``, ``trace_ratio`` and ``indefinite`` of A itself; ``stein``, tr(E'^-1 A') - log det(E'^-1 A') - n;
        ``kl``, half of the same with A' and E' exchanged, the divergence of a normal distribution of covariance A'
        from one of E'; ``cosine`` of A'^-1 g with E'^-1 g; ``model_decrease`` and ``loss_decrease`` as shares of E's.
    """
    e, size = exact.damped, len(found.matrix)
    row: dict[str, Any] = {
        "frobenius": _share(float((found.matrix - e.matrix).norm()), float(e.matrix.norm())),
        "trace_ratio": _share(float(found.matrix.trace()), float(e.matrix.trace())),
        "stein": None,
        "kl": None,
        "indefinite": found.indefinite,
        "cosine": None,
        "model_decrease": None,
        "loss_decrease": None,
        "note": "",
    }
    if found.inverse is None or e.inverse is None:
        return row | {"note": INDEFINITE}
    log_ratio = found.log_determinant - e.log_determinant
    row |= {
        "stein": float((e.inverse * found.sum).sum()) - log_ratio - size,
        "kl": (float((found.inverse * exact.metric).sum()) + log_ratio - size) / 2,
    }
    if not exact.gradient.any():
        return row | {"note": NO_GRADIENT}
    natural = found.inverse @ exact.gradient
    model, loss = exact.decreases(natural)
    best_model, best_loss = exact.best
    return row | {
        "cosine": float(functional.cosine_similarity(natural, exact.natural, dim=0)),
        "model_decrease": _share(model, best_model),
        "loss_decrease": _share(loss, best_loss),
        "note": "" if best_loss > 0 else NO_DECREASE,
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
