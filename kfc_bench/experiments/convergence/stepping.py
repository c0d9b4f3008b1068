"""One training step, whatever the optimizer: loss, gradient, statistics where due, update, learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from kfc_bench.experiments.convergence.optimizers import OPTIMIZERS
from kfc_bench.experiments.convergence.trial import Schedule, TrialCase
from kfc_bench.optim import NaturalGradient
from kfc_bench.problems.images import Split

SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
"""The learning rate over the first one, by the share of the trial's steps that were taken."""


class Stepper:
    """Trains a network step by step as a trial asks.

    Args:
        case: The trial.
        model: Its network, in training mode.
    """

    def __init__(self, case: TrialCase, model: nn.Module) -> None:
        self._case = case
        self._model = model
        self.optimizers = OPTIMIZERS[case.optimizer].build(model, case)
        factor = SCHEDULES[case.hyperparameters.schedule]
        self._schedulers = [LambdaLR(part, lambda step: factor(step / case.steps)) for part in self.optimizers]
        natural = [part for part in self.optimizers if isinstance(part, NaturalGradient)]
        self._natural = natural[0] if natural else None

    def initialize(self, split: Split) -> None:
        """Estimate the statistics before the first step, on all training images (Algorithm 1) or the first ones.

        Args:
            split: The training images.

        Raises:
            NotInvertibleError: A factor is not finite.
        """
        if self._natural is None or not self._case.initialize:
            return
        batch, first = self._case.hyperparameters.batch, slice(self._case.setting.initial_examples)
        loader = zip(split.images[first].split(batch), split.labels[first].split(batch), strict=True)
        self._natural.initialize(loader, loss_function=functional.cross_entropy)

    def step(self, images: Tensor, labels: Tensor) -> float:
        """Take one step.

        Args:
            images: ``[N, C, H, W]``.
            labels: ``[N]``.

        Returns:
            The batch's mean cross-entropy before the step, in nats.

        Raises:
            FloatingPointError: The loss, or what natural gradient made of it, is not finite.
            NotInvertibleError: A factor is not finite.
        """
        for part in self.optimizers:
            part.zero_grad()
        logits = self._model(images)
        loss = functional.cross_entropy(logits, labels)
        if self._natural is None:
            loss.backward()
        else:
            self._natural.backward(loss, logits)
        for part in self.optimizers:
            part.step()
        for scheduler in self._schedulers:
            scheduler.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value}")
        if self._natural is not None and self._natural.skipped:
            raise FloatingPointError("a gradient, a statistic or a step is not finite")
        return value

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizers' states and the schedules', plain enough for ``torch.load(weights_only=True)``."""
        return {
            "optimizers": [part.state_dict() for part in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self._schedulers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, of the same trial."""
        for part, values in zip(self.optimizers, state["optimizers"], strict=True):
            part.load_state_dict(values)
        for scheduler, values in zip(self._schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(values)
