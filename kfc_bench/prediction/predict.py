"""Time and memory of training steps before they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kfc_bench.experiments.profile.layers import Module
from kfc_bench.prediction.amounts import Often, by_part
from kfc_bench.prediction.measured import Measured
from kfc_bench.prediction.model import DeviceModel
from kfc_bench.prediction.replay import SGD, Replay, Step, replay
from kfc_bench.problems.networks import Network

MOST_BYTES = 2**40
"""More than any device has, where it is not known how much."""


@dataclass(frozen=True)
class Question:
    """A network, and what its steps are asked for on.

    Attributes:
        name: The network's.
        network: The network.
        modules: Its modules, by name; empty where none was measured anyway.
        statistics_every: T_s.
        inverses_every: T_f.
        free_bytes: Memory that the device has; None where that is not known.
        kind: Of the device, ``"cpu"`` or ``"cuda"``.
    """

    name: str
    network: Network
    modules: Mapping[str, Module]
    statistics_every: int
    inverses_every: int
    free_bytes: int | None
    kind: str = "cpu"

    @property
    def shape(self) -> str:
        """Of one example, ``3x32x32``."""
        return "x".join(map(str, self.network.input_shape))


@dataclass(frozen=True)
class Prediction:
    """What one step is predicted to take.

    Attributes:
        step: The step.
        seconds: Its time in the mean over its periods.
        low: Lower end of the interval.
        high: Upper end.
        measured_share: The part of the time that was measured, of this step or of a layer like one of its own.
        needed_bytes: Parameters, batch, optimizer and all that a step holds at its peak.
        step_bytes: What a step allocates at its peak beyond what is held between steps, as profiles measure it.
        held_bytes: What is held between steps.
        fits: Whether it fits the device; None where that is not known.
        phases: Seconds by phase.
        reason: Why there is no prediction; empty where there is one.
    """

    step: Step
    seconds: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    measured_share: float = 0.0
    needed_bytes: int = 0
    step_bytes: int = 0
    held_bytes: int = 0
    fits: bool | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


def _blocks_bytes(question: Question, step: Step) -> int:
    """Return the bytes of whole blocks of the Fisher and their inverses, where an approximation has such."""
    modules = question.modules.values()
    blocks = [(module.geometry.groups, module.trained) for module in modules if module.geometry is not None]
    numbers = {
        "exact": sum(module.trained for module in modules) ** 2,
        "block_diagonal": sum(groups * (size // groups) ** 2 for groups, size in blocks),
    }
    return 2 * 4 * numbers.get(step.approximation, 0)


def predict(
    question: Question, step: Step, model: DeviceModel, measured: Measured, sgd: Prediction | None = None
) -> Prediction:
    """Predict a step.

    A step that was measured takes its measured time. Else each part of a layer that was measured in some network, at
    this batch, takes that, and rates say what the rest takes.

    Args:
        question: The network and what it runs on.
        step: Optimizer and batch.
        model: The device's rates.
        measured: What was measured on it.
        sgd: The prediction of SGD's step on this batch: what it needs, every other needs too.

    Returns:
        The prediction; without times where what it needs at least does not fit, and
        one with a reason where the network or the optimizer does not take this step.
    """
    least = max(sgd.needed_bytes if sgd is not None else 0, _blocks_bytes(question, step))
    if step.approximation != SGD and least > (MOST_BYTES if question.free_bytes is None else question.free_bytes):
        # Not gone through: operators that take a batch or a block in chunks would go through every chunk of it.
        return Prediction(step, needed_bytes=least, fits=False)
    try:
        gone = replay(question.network, step, question.kind)
    except Exception as error:
        return Prediction(step, reason=f"{type(error).__name__}: {' '.join(str(error).split())}"[:200])
    known, phases = _times(question, step, gone, model, measured)
    seconds = sum(phases.values())
    fits = None if question.free_bytes is None else gone.peak_bytes <= question.free_bytes
    low, high = (known + (seconds - known) * factor for factor in model.interval())
    whole = measured.step(question.name, question.shape, step, question.statistics_every, question.inverses_every)
    if whole is not None:
        phases = {phase: time * whole.seconds / seconds for phase, time in phases.items()}
        known, seconds, low, high = whole.seconds, whole.seconds, whole.low, whole.high
    return Prediction(
        step,
        seconds,
        low,
        high,
        known / seconds if seconds else 0.0,
        gone.peak_bytes,
        gone.step_bytes,
        gone.held_bytes,
        fits,
        phases,
    )


def _times(
    question: Question, step: Step, gone: Replay, model: DeviceModel, measured: Measured
) -> tuple[float, dict[str, float]]:
    """Return seconds that were measured, and all seconds by phase."""
    known, phases = 0.0, dict[str, float]()
    for (phase, layer), often in by_part(gone).items():
        seconds = None
        if isinstance(layer, str):
            seconds = _measured_part(phase, question.modules.get(layer), often, question, step, measured)
        if seconds is None:
            seconds = model.rates.of(often.per_step(question.statistics_every, question.inverses_every))
        else:
            known += seconds
        phases[phase] = phases.get(phase, 0.0) + seconds
    return known, phases


def _measured_part(
    phase: str, module: Module | None, often: Often, question: Question, step: Step, measured: Measured
) -> float | None:
    """Return the measured seconds of a part in the mean over its period; None where there are none.

    A part that does most of its work at each step is taken to do all of it then: what a step with statistics adds to it
    is what it lets go of.
    """
    call = measured.part(step, phase, module)
    if call is None or often.always.any():
        return call
    return call / (question.inverses_every if often.of_inverses else question.statistics_every)


def with_sgd(steps: list[Step]) -> list[Step]:
    """Return the steps with SGD's of each batch and layout first, whose time the others are set beside."""
    found = []
    for step in steps:
        plain = Step(SGD, step.batch, None, channels_last=step.channels_last)
        found += [plain] if plain not in found else []
        found += [step] if step not in found else []
    return found
