"""The training loop of a trial: its clock runs in training steps only, never in evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kfc_bench.curvature.likelihoods import Fisher
from kfc_bench.experiments.convergence.trial import TrialCase
from kfc_bench.measure.clock import clock_for
from kfc_bench.measure.memory import is_out_of_memory
from kfc_bench.measure.precision import set_precision
from kfc_bench.optim import NaturalGradient
from kfc_bench.problems.digits import digits
from kfc_bench.problems.images import ImageData, Split
from kfc_bench.problems.networks import NETWORKS
from kfc_bench.results.schema import Record
from kfc_kernels.damped_inverse import NotInvertibleError

WARM_UP_STEPS = 3
LEARNED, COLLAPSED = 0.5, 0.9
"""A trial has collapsed if its training loss was below the one share of its first value and ended above the other."""

COLLAPSED = 0.9
"""A trial whose last training loss is above this share of its first has learned nothing that it kept."""


@cache
def _data(problem: str, device: str) -> ImageData:
    return {"digits": digits}[problem]().to(device)


def _batches(split: Split, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield full batches forever, each epoch in a new order."""
    generator = torch.Generator().manual_seed(seed)
    size = len(split.labels)
    while True:
        order = torch.randperm(size, generator=generator).to(split.labels.device)
        for start in range(0, size - batch + 1, batch):
            chosen = order[start : start + batch]
            yield split.images[chosen], split.labels[chosen]


@torch.no_grad()
def _evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    logits = model(split.images)
    error = (logits.argmax(1) != split.labels).double().mean()
    return float(functional.cross_entropy(logits, split.labels)), float(error)


def _trainer(case: TrialCase, model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function that takes one step on a batch and returns its loss."""
    values, setting = case.hyperparameters, case.setting
    if case.optimizer == "sgd":
        sgd = torch.optim.SGD(
            model.parameters(), lr=values.lr, momentum=values.momentum, weight_decay=values.weight_decay
        )

        def sgd_step(images: Tensor, labels: Tensor) -> Tensor:
            sgd.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            sgd.step()
            return loss.detach()

        return sgd_step
    natural = NaturalGradient(
        model,
        values.lr,
        momentum=values.momentum,
        weight_decay=values.weight_decay,
        approximation=case.optimizer,
        damping=cast("float", values.damping),
        fisher=cast("Fisher", setting.fisher),
        statistics_every=setting.statistics_every,
        inverses_every=setting.inverses_every,
        seed=case.seed,
    )

    def natural_step(images: Tensor, labels: Tensor) -> Tensor:
        natural.zero_grad()
        logits = model(images)
        loss = functional.cross_entropy(logits, labels)
        natural.backward(loss, logits)
        natural.step()
        return loss.detach()

    return natural_step


def _network(case: TrialCase) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case.seed)
        return NETWORKS[case.setting.network].build().to(case.setting.device)


@dataclass
class Trial:
    """A trial under way: one visit trains it to its end.

    Attributes:
        case: The trial.
        curve: One entry per evaluation.
        status: ``ok`` or ``diverged``.
        reason: Why it diverged.
        seconds: Training time so far.
    """

    case: TrialCase
    curve: list[dict[str, float | int | None]] = field(default_factory=list)
    status: str = "ok"
    reason: str | None = None
    seconds: float = 0.0

    def _observe(self, model: nn.Module, data: ImageData, step: int) -> None:
        train_loss, train_error = _evaluate(model, data.train)
        validation_loss, validation_error = _evaluate(model, data.validation)
        test_loss, test_error = _evaluate(model, data.test) if self.case.role == "report" else (None, None)
        self.curve.append(
            {
                "step": step,
                "epoch": step * self.case.setting.batch / len(data.train.labels),
                "seconds": self.seconds,
                "train_loss": train_loss,
                "train_error": train_error,
                "validation_loss": validation_loss,
                "validation_error": validation_error,
                "test_loss": test_loss,
                "test_error": test_error,
            }
        )

    def visit(self) -> bool:
        """Train to the end, or to where the loss is no number any more."""
        setting = self.case.setting
        clock = clock_for(setting.device)
        data = _data(setting.problem, setting.device)
        model = _network(self.case)
        train = _trainer(self.case, model)
        batches = _batches(data.train, setting.batch, self.case.seed)
        self._observe(model, data, 0)
        for step in range(1, setting.steps + 1):
            images, labels = next(batches)
            clock.synchronize()
            start = time.perf_counter()
            try:
                loss = float(train(images, labels))
            except NotInvertibleError as error:
                self.status, self.reason = "diverged", f"step {step}: {error}"
                break
            clock.synchronize()
            self.seconds += time.perf_counter() - start
            if not math.isfinite(loss):
                self.status, self.reason = "diverged", f"step {step}: the loss is {loss}"
                break
            if step % setting.evaluate_every == 0 or step == setting.steps:
                self._observe(model, data, step)
        if self.status == "ok":
            self._judge_end()
        return False

    def _judge_end(self) -> None:
        """Call a trial diverged that lost what it had learned, or ended in numbers that are none."""
        if not _is_finite(self.curve[-1]):
            self.status, self.reason = "diverged", "the last evaluation is not finite"
            return
        losses = [cast("float", point["train_loss"]) for point in self.curve]
        if min(losses) < LEARNED * losses[0] and losses[-1] > COLLAPSED * losses[0]:
            self.status = "diverged"
            self.reason = (
                f"the training loss fell from {losses[0]:.3g} to {min(losses):.3g}, but ended at {losses[-1]:.3g}"
            )

    def _reached(self) -> dict[str, float | int | None]:
        split = "test" if self.case.role == "report" else "validation"
        target = self.case.setting.target
        for point in self.curve:
            value = point[f"{split}_{target.metric}"]
            if value is not None and value <= target.value:
                return point
        return {"step": None, "seconds": None}

    def record(self) -> Record:
        """Return the curve, where it reached the target, and where it ended."""
        ended, last = self.status == "ok", self.curve[-1]
        reached = self._reached() if ended else {"step": None, "seconds": None}
        return {
            "status": self.status,
            "reason": self.reason,
            "steps_to_target": reached["step"],
            "seconds_to_target": reached["seconds"],
            "seconds": self.seconds,
            "final_train_loss": last["train_loss"] if ended else None,
            "final_validation_error": last["validation_error"] if ended else None,
            "final_test_error": last["test_error"] if ended else None,
            "curve": [point for point in self.curve if _is_finite(point)],
        }


def _is_finite(point: dict[str, float | int | None]) -> bool:
    return all(math.isfinite(value) for value in point.values() if value is not None)


def open_trial(case: TrialCase) -> Trial:
    """Prepare a trial: load the data, and take a few steps on a network that is thrown away.

    Args:
        case: The trial.

    Returns:
        The trial, ready for its one visit.
    """
    set_precision("ieee")
    data = _data(case.setting.problem, case.setting.device)
    train = _trainer(case, _network(case))
    warm_up = islice(_batches(data.train, case.setting.batch, case.seed), WARM_UP_STEPS)
    with suppress(NotInvertibleError):
        for images, labels in warm_up:
            train(images, labels)
    return Trial(case)


def classify(error: Exception) -> tuple[str, str]:
    """Turn what a trial raised into a status and a reason."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    return ("oom" if is_out_of_memory(error) else "crashed"), reason
