"""Sessions of two revisions, taken in turn, judged: which benchmarks became slower, broke, are new."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kfc_bench.measure.paired import FEWEST_PAIRS, PairedRatio
from kfc_bench.report.differences import Difference, failing
from kfc_bench.report.verdicts import Policy, Verdict, verdicts
from kfc_bench.results.bench_session import BenchSession

Round = tuple[BenchSession, BenchSession]
"""One session of the base and one of the head, right after one another."""


@dataclass(frozen=True)
class Judged:
    """What can be said of a set of rounds.

    Attributes:
        differences: Benchmarks that have a time on one side at least and are on both, or broke.
        new: Median seconds at the head of benchmarks that the base does not have.
        untimed: Why neither side has a time, of benchmarks that are skipped or fail on both.
    """

    differences: list[Difference] = field(default_factory=list)
    new: Mapping[str, float] = field(default_factory=dict)
    untimed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Side:
    """One benchmark in all sessions of one side."""

    times: list[float | None]
    failures: list[str]
    skips: list[str]

    @classmethod
    def of(cls, test: str, sessions: Sequence[BenchSession]) -> _Side:
        return cls(
            times=[session.times.get(test) for session in sessions],
            failures=[session.failed[test] for session in sessions if test in session.failed],
            skips=[session.skipped[test] for session in sessions if test in session.skipped],
        )

    @property
    def median(self) -> float | None:
        known = [time for time in self.times if time is not None]
        return statistics.median(known) if known else None

    @property
    def exists(self) -> bool:
        return bool(self.failures or self.skips or self.median is not None)

    @property
    def reason(self) -> str:
        """Why it has no time, or not always."""
        if self.failures:
            return f"fails in {len(self.failures)} of {len(self.times)} sessions: {self.failures[0]}"
        return f"skipped: {self.skips[0]}" if self.skips else "not there"


def judge(rounds: Sequence[Round], tolerance: float) -> Judged:
    """Judge each benchmark by the pairs of its medians, session by session.

    A benchmark that fails in any session of the head and in none of the base is BROKEN, a new one too; and so is one
    that the base has a time of, now and then at least, and the head never. One that the head does not have is MISSING.

    Args:
        rounds: Both sessions of each round, at least one round.
        tolerance: Relative difference that does not matter.

    Returns:
        The differences, new and untimed benchmarks, in the order of the head's tests.
    """
    sessions = list(zip(*rounds, strict=True))
    order: dict[str, None] = {}
    for session in (*sessions[1], *sessions[0]):
        order |= dict.fromkeys([*session.times, *session.failed, *session.skipped])
    found: dict[str, Difference] = {}
    new: dict[str, float] = {}
    untimed: dict[str, str] = {}
    ratios: dict[str, PairedRatio] = {}
    for test in order:
        base, head = (_Side.of(test, own) for own in sessions)
        timed_by_the_base_alone = base.median is not None and head.median is None
        if (head.failures and not base.failures) or (head.exists and timed_by_the_base_alone):
            found[test] = _difference(test, base, head, Verdict.BROKEN, head.reason)
        elif timed_by_the_base_alone:
            found[test] = _difference(test, base, head, Verdict.MISSING, "not at the head")
        elif head.median is not None and not base.exists:
            new[test] = head.median
        elif head.median is not None and not head.failures and (base.failures or base.median is None):
            found[test] = _difference(test, base, head, Verdict.MENDED, base.reason)
        elif head.failures or head.median is None or base.median is None:
            untimed[test] = head.reason
        else:
            pairs = [(a, b) for a, b in zip(base.times, head.times, strict=True) if a is not None and b is not None]
            if pairs:
                ratios[test] = PairedRatio([a for a, _ in pairs], [b for _, b in pairs])
                found[test] = _difference(test, base, head, Verdict.UNCLEAR, "")
            else:
                untimed[test] = "no round in which both sides have a time"
    for test, verdict in zip(ratios, verdicts(list(ratios.values()), tolerance), strict=True):
        few = f"only {ratios[test].pairs} rounds" if ratios[test].pairs < FEWEST_PAIRS else ""
        base, head = (_Side.of(test, own) for own in sessions)
        found[test] = _difference(test, base, head, verdict, few, ratios[test])
    return Judged([found[test] for test in order if test in found], new, untimed)


def _difference(
    test: str, base: _Side, head: _Side, verdict: Verdict, reason: str, ratio: PairedRatio | None = None
) -> Difference:
    return Difference(test, {"benchmark": test}, base.median, head.median, ratio, verdict, reason)


@dataclass(frozen=True)
class Outcome:
    """A comparison, and what a second one of the benchmarks that would fail made of it.

    Attributes:
        first: The comparison of all.
        failing: Differences of the first that fail the policies, and again in the second.
        unconfirmed: Those that fail in the first alone.
        second: The second comparison's differences by benchmark, of its own sessions alone.
        rounds: How many rounds the first has.
        interrupted: Whether it was broken off: what would fail may not have been measured twice.
    """

    first: Judged
    failing: list[Difference]
    unconfirmed: list[Difference]
    second: Mapping[str, Difference]
    rounds: int
    interrupted: bool = False


def conclude(
    first: Judged, second: Judged | None, policies: Sequence[Policy], rounds: int, *, interrupted: bool = False
) -> Outcome:
    """Say what fails.

    Args:
        first: The comparison of all.
        second: That of what failed in it; None if it was not made.
        policies: What fails a build.
        rounds: How many rounds the first has.
        interrupted: Whether it was broken off.

    Returns:
        The outcome. What is MISSING needs no second comparison.
    """
    failed = failing(first.differences, policies)
    again = {difference.case_id: difference for difference in second.differences} if second else {}
    confirmed = {difference.case_id for difference in failing(list(again.values()), policies)}
    if second is None:
        confirmed = {difference.case_id for difference in failed}
    certain = [entry for entry in failed if entry.verdict is Verdict.MISSING or entry.case_id in confirmed]
    return Outcome(
        first, certain, [entry for entry in failed if entry not in certain], again, rounds, interrupted=interrupted
    )
