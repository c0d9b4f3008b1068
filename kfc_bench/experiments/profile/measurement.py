"""One profile under way: watched and unwatched steps must agree, then they are timed in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from kfc_bench.experiments.cost.measurement import Declined
from kfc_bench.experiments.profile.case import Kind, ProfileCase
from kfc_bench.experiments.profile.layers import Module, Works, modules, shared_works
from kfc_bench.experiments.profile.parts import Visit, rows
from kfc_bench.experiments.profile.training import Layout, Training, best_layout
from kfc_bench.measure.precision import set_precision
from kfc_bench.measure.span_memory import SpanBytes, memory_by_span
from kfc_bench.measure.stopwatch import Stopwatch, Timer, seconds_of, timer_for
from kfc_bench.measure.visits import Visits
from kfc_bench.optim import NaturalGradient
from kfc_bench.results.schema import Record
from kfc_bench.spans import OTHER, Key, Listener

BURST_S = 20e-3
BURST_PAIRS = 10
"""A visit takes pairs of steps, one watched and one not, until they last so long, or there are so many."""

SHARE_TOLERANCE = 0.05
"""By how much the parts together may miss the measured step; beyond it the record is suspect, and says so."""

AS_MUCH = 10
"""Times the distance of two unwatched steps that a watched one may lie from one, where sums have no fixed order."""


@dataclass
class ProfileMeasurement:
    """A step that is timed whole and by span.

    Attributes:
        case: The case.
        training: Takes the steps.
        layout: Its memory format.
        found: The network's modules.
        works: Counted work of calls that serve several layers.
        memory: Bytes by key, of a step that does everything.
        timer: Takes marks.
        taken: The visits.
    """

    case: ProfileCase
    training: Training
    layout: Layout
    found: Mapping[str, Module]
    works: Works
    memory: Mapping[Key, SpanBytes]
    timer: Timer
    taken: list[Visit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._weights = self.case.kinds()
        self._visits = Visits(self.case.rule)
        self._samples = 0

    @property
    def visit_medians(self) -> list[float]:
        """Each visit's mean step of a cycle, nobody watching, in seconds."""
        return self._visits.medians

    def visit(self) -> bool:
        """Take every kind of step once or more, watched and not; return whether more visits are wanted."""
        steps, spans = {}, {}
        for kind in self._weights:
            steps[kind], spans[kind] = self._pairs(kind)
        self.taken.append(Visit(steps, spans))
        self._visits.bursts.append([sum(self._weights[kind] * value for kind, value in steps.items())])
        return self._visits.stop_reason is None

    def _pairs(self, kind: Kind) -> tuple[float, dict[Key, float]]:
        """Take pairs of steps; which of the two comes first changes from pair to pair, and from visit to visit."""
        step = self.training.stepper(statistics=kind[0], inverses=kind[1])
        plain: list[float] = []
        watched: list[dict[Key, float]] = []

        def watch() -> float:
            stopwatch = Stopwatch(self.timer)
            with self.training.marked(stopwatch):
                watched.append(stopwatch.time(step))
            return sum(watched[-1].values())

        def leave() -> float:
            plain.append(seconds_of(step, self.timer))
            return plain[-1]

        spent = 0.0
        while not plain or (spent < BURST_S and len(plain) < BURST_PAIRS):
            first, second = (leave, watch) if (len(self.taken) + len(plain)) % 2 == 0 else (watch, leave)
            spent += first() + second()
        self._samples += len(plain)
        keys = dict.fromkeys(key for times in watched for key in times)
        return statistics.median(plain), {
            key: statistics.median(times.get(key, 0.0) for times in watched) for key in keys
        }

    def record(self) -> Record:
        """Return the step's time, and its parts with what they add up to.

        Returns:
            The record; ``wrong`` where steps were skipped for numbers that are not finite: they took less time.
        """
        optimizer = self.training.optimizer
        if isinstance(optimizer, NaturalGradient) and optimizer.skipped:
            reason = f"{optimizer.skipped} steps were skipped: their numbers were not finite"
            return {"status": "wrong", "reason": reason}
        low, high = self._visits.interval or (None, None)
        step_s = self._visits.median
        parts = rows(self.taken, self._weights, self.works, self.found, self.memory)
        parts_s = sum(part["per_step_s"] for part in parts)
        share = parts_s / step_s
        suspect = abs(share - 1) > SHARE_TOLERANCE
        remark = f"the parts add up to {100 * share:.1f} % of the measured step, not to 95..105 %"
        return {
            "status": "ok",
            **({"reason": remark} if suspect else {}),
            "implementation": f"torch_{self.layout.flag}" if self.case.is_sgd else "auto",
            "layout": self.layout.name,
            "step_s": step_s,
            "step_ci_low_s": low,
            "step_ci_high_s": high,
            "parts_s": parts_s,
            "parts_share": share,
            "other_s": self._mean(lambda visit, kind: visit.spans[kind].get(OTHER, 0.0)),
            "marked_step_s": self._mean(lambda visit, kind: sum(visit.spans[kind].values())),
            "suspect": suspect,
            "peak_memory_bytes": max((value.peak for value in self.memory.values()), default=0),
            "visits": len(self.taken),
            "samples": self._samples,
            "stop_reason": self._visits.stop_reason,
            "visit_medians_s": self.visit_medians,
            "steps": [
                {
                    "statistics": kind[0],
                    "inverses": kind[1],
                    "share": weight,
                    "step_s": statistics.median(visit.steps[kind] for visit in self.taken),
                }
                for kind, weight in self._weights.items()
            ],
            "parts": parts,
        }

    def _mean(self, seconds: Callable[[Visit, Kind], float]) -> float:
        """Return the median over visits of a cycle's mean."""
        return statistics.median(
            sum(weight * seconds(visit, kind) for kind, weight in self._weights.items()) for visit in self.taken
        )


def differing(case: ProfileCase, layout: Layout, training: Training) -> str | None:
    """Take a training's first step unwatched and the same step of another one watched, and compare what they leave.

    Args:
        case: The case.
        layout: The memory format.
        training: Fresh; it is one step further afterwards.

    Returns:
        What is wrong; None where parameters and buffers are equal bit for bit. Where two unwatched steps differ
        themselves, as sums in no fixed order do on a GPU, the watched one may differ by a few times as much.
    """
    (statistics_, inverses) = next(iter(case.kinds()))

    def weights(*, watched: bool, own: Training) -> list[torch.Tensor]:
        # Dropout draws from torch's own generator, the same for each.
        with torch.random.fork_rng():
            torch.manual_seed(0)
            if watched:
                stopwatch = Stopwatch(timer_for(case.device))
                with own.marked(stopwatch):
                    own.step(statistics=statistics_, inverses=inverses)
            else:
                own.step(statistics=statistics_, inverses=inverses)
        return own.weights()

    plain = weights(watched=False, own=training)
    marked = weights(watched=True, own=Training(case, layout))
    apart = _distance(plain, marked)
    if apart == 0:
        return None
    by_itself = _distance(plain, weights(watched=False, own=Training(case, layout)))
    if apart <= AS_MUCH * by_itself:
        return None
    return f"a step whose spans are timed leaves other weights, by {apart:.1e}; two that are not, by {by_itself:.1e}"


def _distance(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """Return the largest difference; infinity where something is not finite in one alone."""
    pairs = zip(one, other, strict=True)
    return max(
        0.0 if torch.equal(a, b) else float((a.double() - b.double()).abs().max().nan_to_num(torch.inf))
        for a, b in pairs
    )


def open_case(case: ProfileCase) -> ProfileMeasurement | Declined:
    """Prepare a case: choose the memory format, hold watched steps to unwatched ones, measure memory, warm up.

    Args:
        case: The case.

    Returns:
        A measurement that can be visited, or one that has ended as ``wrong``.
    """
    set_precision(case.precision)
    layout = best_layout(case)
    training = Training(case, layout)
    wrong = differing(case, layout, training)
    if wrong is not None:
        return Declined({"status": "wrong", "reason": wrong})
    found = modules(case.find())
    optimizer = training.optimizer
    works = shared_works(optimizer.curvature, found) if isinstance(optimizer, NaturalGradient) else {}
    everything, *others = [training.stepper(statistics=kind[0], inverses=kind[1]) for kind in case.kinds()]
    for step in others:
        step()

    def watched(listener: Listener) -> None:
        with training.marked(listener):
            everything()

    memory = memory_by_span(watched, case.device)
    return ProfileMeasurement(case, training, layout, found, works, memory, timer_for(case.device))
