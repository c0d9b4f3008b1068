"""A trial under way: its clock runs in training steps only, and it can be laid down and taken up again."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kfc_bench.experiments.batches import batches
from kfc_bench.experiments.convergence.evaluation import (
    Point,
    evaluated_steps,
    first_reached,
    is_finite,
    observe,
    why_diverged,
)
from kfc_bench.experiments.convergence.stepping import Stepper
from kfc_bench.experiments.convergence.trial import TrialCase
from kfc_bench.experiments.trained import fresh_network, problem_data
from kfc_bench.measure.clock import clock_for
from kfc_bench.measure.memory import is_out_of_memory
from kfc_bench.measure.precision import set_precision
from kfc_bench.results.schema import Record
from kfc_kernels.damped_inverse import NotInvertibleError

WARM_UP_STEPS = 3
CHECKPOINT_S = 20.0
"""Seconds of training in a visit: what an interrupted run loses at most, saving being a matter of a tenth of one."""

DIVERGENCE = (FloatingPointError, NotInvertibleError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]


class Trial:
    """A trial under way: a visit trains it to its next checkpoint, or to its end.

    Evaluations look at the averaged iterate where the setting asks for averaging: theta_bar <- xi theta_bar +
    (1 - xi) theta with xi = exp(-1/tau), tau the timescale in steps and theta_0 at first (Algorithm 1), whatever the
    optimizer. Its buffers are the network's.

    Args:
        case: The trial.

    Attributes:
        curve: One point per evaluation.
        status: ``ok`` or ``diverged``.
        reason: Why it diverged.
        seconds: Training time so far: initialisation, steps and averaging.
    """

    def __init__(self, case: TrialCase) -> None:
        self._case = case
        setting = case.setting
        self._data = problem_data(setting.problem, setting.device)
        self._steps_per_epoch = len(self._data.train.labels) // case.hyperparameters.batch
        self._evaluated = evaluated_steps(case, self._steps_per_epoch)
        self._model = _network(case)
        self._averaged: AveragedModel | None = None
        if setting.averaging is not None:
            xi = math.exp(-1 / (setting.averaging * self._steps_per_epoch))
            # A copy of the network: made before an optimizer's hooks are on it.
            self._averaged = AveragedModel(self._model, multi_avg_fn=get_ema_multi_avg_fn(xi))
            self._averaged.update_parameters(self._model)
        self._stepper = Stepper(case, self._model)
        self._clock = clock_for(setting.device)
        self._step = 0
        self.curve: list[Point] = []
        self.status = "ok"
        self.reason: str | None = None
        self.seconds = 0.0

    @property
    def _judged(self) -> nn.Module:
        return self._model if self._averaged is None else self._averaged

    def _observe(self) -> None:
        self.curve.append(observe(self._case, self._judged, self._data, self._step, self.seconds))

    def _diverge(self, reason: str) -> bool:
        self.status, self.reason = "diverged", reason
        return False

    def visit(self) -> bool:
        """Train for `CHECKPOINT_S`, to the end, or to where a number is none any more; return whether more is left."""
        checkpoint = self.seconds + CHECKPOINT_S
        train, case = self._data.train, self._case
        if not self.curve:
            self._observe()
        stream = batches(train, case.hyperparameters.batch, case.seed, start=self._step)
        for images, labels in islice(stream, case.steps - self._step):
            self._clock.synchronize()
            start = time.perf_counter()
            try:
                if self._step == 0:
                    self._stepper.initialize(train)
                self._stepper.step(images, labels)
            except DIVERGENCE as error:
                return self._diverge(f"step {self._step + 1}: {error}")
            if self._averaged is not None:
                self._averaged.update_parameters(self._model)
            self._clock.synchronize()
            self.seconds += time.perf_counter() - start
            self._step += 1
            if self._step in self._evaluated:
                self._observe()
            if self.seconds >= checkpoint and self._step < case.steps:
                return True
        reason = why_diverged(self.curve)
        return self._diverge(reason) if reason else False

    def state_dict(self) -> dict[str, Any]:
        """Return all that the rest of the training depends on, as ``torch.load(weights_only=True)`` reads it."""
        return {
            "step": self._step,
            "seconds": self.seconds,
            "curve": self.curve,
            "network": self._model.state_dict(),
            "averaged": None if self._averaged is None else self._averaged.state_dict(),
            "stepper": self._stepper.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` of a trial of the same case returned between two visits."""
        self._step, self.seconds = state["step"], state["seconds"]
        self.curve = list(state["curve"])
        self._model.load_state_dict(state["network"])
        if self._averaged is not None:
            self._averaged.load_state_dict(state["averaged"])
        self._stepper.load_state_dict(state["stepper"])

    def record(self) -> Record:
        """Return the curve, where it reached the target, and where it ended."""
        ended, last = self.status == "ok", self.curve[-1]
        reached = first_reached(self._case, self.curve) if ended else None
        return {
            "status": self.status,
            "reason": self.reason,
            "steps_to_target": None if reached is None else reached["step"],
            "seconds_to_target": None if reached is None else reached["seconds"],
            "seconds": self.seconds,
            "final_train_loss": last["train_loss"] if ended else None,
            "final_validation_error": last["validation_error"] if ended else None,
            "final_test_error": last["test_error"] if ended else None,
            "curve": [point for point in self.curve if is_finite(point)],
        }


def _network(case: TrialCase) -> nn.Module:
    setting = case.setting
    network = fresh_network(setting.network, case.seed, setting.device)
    form = torch.channels_last if setting.layout == "channels_last" else torch.contiguous_format
    return network.to(memory_format=form)  # type: ignore[call-overload]


def open_trial(case: TrialCase) -> Trial:
    """Prepare a trial: load the data, and take a few steps on a network that is thrown away.

    Args:
        case: The trial.

    Returns:
        The trial, ready for its first visit.
    """
    set_precision("ieee")
    setting = case.setting
    data = problem_data(setting.problem, setting.device)
    stepper = Stepper(case, _network(case))
    stream = batches(data.train, case.hyperparameters.batch, case.seed)
    with suppress(*DIVERGENCE):
        for images, labels in islice(stream, min(WARM_UP_STEPS, case.steps)):
            stepper.step(images, labels)
    return Trial(case)


def classify(error: Exception) -> tuple[str, str]:
    """Turn what a trial raised into a status and a reason."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    return ("oom" if is_out_of_memory(error) else "crashed"), reason
