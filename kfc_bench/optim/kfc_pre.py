"""KFC-pre, the method of the paper's experiments (Grosse & Martens 2016, supplement B.1, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kfc_bench.optim.natural_gradient import NaturalGradient
from kfc_bench.spans import span


class KFCPre(NaturalGradient):
    """`NaturalGradient` as Algorithm 1 has it: KFC, clipping at 0.3 on a quarter of the batch, iterate averaging.

    Everything the algorithm asks for::

        optimizer = KFCPre(model, lr=0.03, averaging=len(loader))
        optimizer.initialize(loader)  # factors on the full data set
        for images, labels in loader:
            optimizer.zero_grad()
            logits = model(images)
            optimizer.backward(functional.cross_entropy(logits, labels), logits)
            optimizer.step()
        evaluate(optimizer.averaged)

    Args:
        model: The network; build the optimizer before any ``torch.compile``.
        lr: alpha.
        averaging: tau, the timescale of iterate averaging in steps, the paper's number of batches in the data set;
            None for no averaging.
        clip: C; None for no clipping.
        options: As in `NaturalGradient`.

    Attributes:
        averaged: The network at the averaged iterate, theta_bar <- xi theta_bar + (1 - xi) theta with
            xi = exp(-1/tau) and theta_0 at first, a ``torch.optim.swa_utils.AveragedModel``; None without averaging.
            Its buffers are the network's.

    Raises:
        ValueError: As `NaturalGradient`, or ``averaging`` is not positive.
    """

    def __init__(
        self, model: nn.Module, lr: float, *, averaging: float | None = None, clip: float | None = 0.3, **options: Any
    ) -> None:
        if averaging is not None and not averaging > 0:
            raise ValueError(f"averaging must be positive, not {averaging}")
        self.averaged: AveragedModel | None = None
        if averaging is not None:
            # A copy of the network: made before the hooks are on it.
            self.averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(math.exp(-1 / averaging)))
            self.averaged.update_parameters(model)
        super().__init__(model, lr, clip=clip, **options)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step, and average the iterate that it leads to; a skipped step counts in neither.

        Args:
            closure: As in `NaturalGradient.step`.

        Returns:
            What the closure returned, or None.
        """
        steps = self._steps
        loss = super().step(closure)
        if self.averaged is not None and self._steps > steps:
            with span("averaging"):
                self.averaged.update_parameters(self._model)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs, the averaged iterate among it."""
        averaged = None if self.averaged is None else self.averaged.state_dict()
        return {**super().state_dict(), "averaged": averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: It has an averaged iterate and this optimizer none, or the other way round.
        """
        if (state_dict["averaged"] is None) != (self.averaged is None):
            raise ValueError("the state has an averaged iterate and the optimizer none, or the other way round")
        super().load_state_dict(state_dict)
        if self.averaged is not None:
            self.averaged.load_state_dict(state_dict["averaged"])
