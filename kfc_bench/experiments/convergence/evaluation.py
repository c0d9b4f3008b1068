"""What a trial's curve is made of: when the network is evaluated, on which images, and what is made of it."""

from __future__ import annotations

import math

from torch import nn

from kfc_bench.experiments.convergence.trial import TrialCase
from kfc_bench.experiments.trained import evaluate
from kfc_bench.problems.images import ImageData, Split

Point = dict[str, float | int | None]
"""One evaluation, by `CURVE_COLUMNS`."""

TRAIN_EVALUATED = 5_000
"""Training images that an evaluation looks at, the first ones: as many as a validation set has, for a standard error
of half a per cent at most; all of 50,000 would take longer than the training between two evaluations."""

LEARNED, COLLAPSED = 0.5, 0.9
"""A trial has collapsed if its training loss was below the one share of its first value and ended above the other."""

EXPLODED = 2.0
"""A trial has exploded if its training loss ended above so many times its first value: twice the loss of a guess."""


def evaluated_steps(case: TrialCase, steps_per_epoch: int) -> frozenset[int]:
    """Return the steps after which a trial is evaluated: evenly spread over each epoch, and the last.

    Args:
        case: The trial.
        steps_per_epoch: Full batches in the training images.

    Returns:
        The steps, 0 among them.
    """
    last = math.ceil(case.steps * case.setting.evaluations / steps_per_epoch)
    spread = (round(index * steps_per_epoch / case.setting.evaluations) for index in range(last + 1))
    return frozenset({*(step for step in spread if step <= case.steps), case.steps})


def observe(case: TrialCase, model: nn.Module, data: ImageData, step: int, seconds: float) -> Point:
    """Evaluate a network: on validation data while tuning, on test data in the report.

    Args:
        case: The trial.
        model: The network.
        data: The trial's problem.
        step: Steps taken.
        seconds: Training time.

    Returns:
        The point.
    """
    train = Split(data.train.images[:TRAIN_EVALUATED], data.train.labels[:TRAIN_EVALUATED])
    train_loss, train_error = evaluate(model, train)
    is_tuning = case.role == "tuning"
    validation_loss, validation_error = evaluate(model, data.validation) if is_tuning else (None, None)
    test_loss, test_error = (None, None) if is_tuning else evaluate(model, data.test)
    return {
        "step": step,
        "epoch": step * case.hyperparameters.batch / len(data.train.labels),
        "seconds": seconds,
        "train_loss": train_loss,
        "train_error": train_error,
        "validation_loss": validation_loss,
        "validation_error": validation_error,
        "test_loss": test_loss,
        "test_error": test_error,
    }


def is_finite(point: Point) -> bool:
    """Tell whether every number of a point is finite."""
    return all(math.isfinite(value) for value in point.values() if value is not None)


def why_diverged(curve: list[Point]) -> str | None:
    """Say why a trial that came to its end has diverged: it lost what it had learned, blew up, or ended in no numbers.

    Args:
        curve: Its points, whose training loss is there.

    Returns:
        The reason; None if it has not.
    """
    if not is_finite(curve[-1]):
        return "the last evaluation is not finite"
    losses = [float(point["train_loss"] or 0.0) for point in curve]
    if min(losses) < LEARNED * losses[0] and losses[-1] > COLLAPSED * losses[0]:
        return f"the training loss fell from {losses[0]:.3g} to {min(losses):.3g}, but ended at {losses[-1]:.3g}"
    if losses[-1] > EXPLODED * losses[0]:
        return f"the training loss rose from {losses[0]:.3g} to {losses[-1]:.3g}"
    return None


def first_reached(case: TrialCase, curve: list[Point]) -> Point | None:
    """Return the first point at or below the target; None if it is never reached."""
    split = "test" if case.role == "report" else "validation"
    target = case.setting.target
    for point in curve:
        value = point[f"{split}_{target.metric}"]
        if value is not None and value <= target.value:
            return point
    return None
