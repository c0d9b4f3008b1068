"""What a device needs for each call, byte and FLOP of each class of operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from kfc_bench.prediction.amounts import UNITS, Amounts
from kfc_bench.prediction.operations import MULTIPLYING, OVERHEAD, RELEASE


@dataclass(frozen=True)
class Rates:
    """A device's seconds for each of `UNITS`.

    Attributes:
        seconds: By class and unit, at least 0.
    """

    seconds: Mapping[tuple[str, str], float]

    def of(self, amounts: Amounts) -> float:
        """Return the seconds that so much work takes."""
        return float(sum(amount * self.seconds[unit] for unit, amount in zip(UNITS, amounts, strict=True) if amount))


@dataclass(frozen=True)
class Timed:
    """Measured seconds of a part of a step, and what it does.

    Attributes:
        amounts: Per step.
        seconds: Per step.
        share: Its share of the step that it is part of.
    """

    amounts: Amounts
    seconds: float
    share: float


def fitted(parts: Sequence[Timed], prior: Rates) -> Rates:
    """Fit rates to measured parts: least squares of relative errors, no rate negative.

    A part counts by its share of its step, so that all steps count alike. Of a class that no part has, the prior's
    rates stay.

    Args:
        parts: What was measured, on one device.
        prior: The rates of what was never measured.

    Returns:
        The rates.
    """
    weights = np.sqrt([part.share for part in parts])
    relative = np.array([part.amounts / part.seconds for part in parts]) * weights[:, None]
    sizes = np.linalg.norm(relative, axis=0)
    seen = sizes > 0
    costs = np.array([prior.seconds[unit] for unit in UNITS])
    found, _ = nnls(relative[:, seen] / sizes[seen], weights, maxiter=100 * len(UNITS))
    costs[seen] = found / sizes[seen]
    return Rates(dict(zip(UNITS, map(float, costs), strict=True)))


def assumed(flops_per_s: float, bytes_per_s: float, call_s: float, share: float) -> Rates:
    """Take rates from what a device promises, or was seen to reach at its best.

    Args:
        flops_per_s: Of products.
        bytes_per_s: Of its memory.
        call_s: Of a call that does nothing.
        share: What real operations are assumed to reach of both.

    Returns:
        The rates.
    """
    slow = {"cholesky": 0.2, "eigenvectors": 0.02}
    costs = {
        "call": lambda kind: call_s / 10 if kind in (OVERHEAD, RELEASE) else call_s,
        "byte": lambda kind: 0.0 if kind == RELEASE else 1 / (share * bytes_per_s),
        "flop": lambda kind: 1 / (share * slow.get(kind, 1.0) * flops_per_s) if kind in MULTIPLYING else 0.0,
    }
    return Rates({(kind, unit): costs[unit](kind) for kind, unit in UNITS})
