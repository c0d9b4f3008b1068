"""How far two runs of the same code on the same device lie apart: the term that one run cannot know."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_RUNS = 3
"""Repeated runs before anything is said about how they vary."""

Medians = Mapping[str, float]
"""Median seconds by ``case_id``, of one run."""


@dataclass(frozen=True)
class BetweenRuns:
    """Variance of the logarithm of a case's median from run to run.

    Attributes:
        shared: Variance of what moves all cases of a run alike (the machine's day).
        pooled: Variance of the rest, pooled over cases.
        own: Variance of the rest of each case.
        runs: Runs in the history, less one per repeated set.
        cases: Cases that all runs of a set have in common, the most of any set.
    """

    shared: float
    pooled: float
    own: Mapping[str, float]
    runs: int
    cases: int

    def variance(self, case_id: str) -> float:
        """Return the variance of one run's log median: shared, and the larger of the pooled and the case's own."""
        return self.shared + max(self.pooled, self.own.get(case_id, 0.0))

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the variance (Welch-Satterthwaite over shared and pooled)."""
        total = self.shared + self.pooled
        rest = self.pooled**2 / (self.runs * max(1, self.cases - 1))
        return total**2 / (self.shared**2 / self.runs + rest) if total else float(self.runs)


def _whole(repeated: Sequence[Medians]) -> list[Medians]:
    """Leave out runs that were broken off early: those with less than half the cases of the largest."""
    most = max((len(run) for run in repeated), default=0)
    return [run for run in repeated if run and 2 * len(run) >= most]


def between_runs(sets: Sequence[Sequence[Medians]]) -> BetweenRuns | None:
    """Estimate the between-run variance from sets of repeated runs.

    Each set is A/A history: the same code on the same device. The log medians of a set are taken apart into case, run
    and the rest (two-way analysis of variance).

    Args:
        sets: Runs by set; sets of one run say nothing.

    Returns:
        The variances; None if no set has `FEWEST_RUNS` runs with a case in common.
    """
    shared = rest = 0.0
    runs = cases = rest_degrees = 0
    own: dict[str, list[float]] = {}
    for repeated in sets:
        whole = _whole(repeated)
        common = sorted(set.intersection(*(set(run) for run in whole))) if whole else []
        if len(whole) < FEWEST_RUNS or not common:
            continue
        logs = np.array([[math.log(run[case_id]) for case_id in common] for run in whole])
        logs -= logs.mean(0)
        by_run = logs.mean(1, keepdims=True)
        remainder = logs - by_run
        degrees = len(whole) - 1
        runs += degrees
        cases = max(cases, len(common))
        shared += float((by_run**2).sum())
        rest += float((remainder**2).sum())
        rest_degrees += degrees * max(1, len(common) - 1)
        for case_id, column in zip(common, remainder.T, strict=True):
            own.setdefault(case_id, []).append(float((column**2).sum()) / degrees)
    if not runs:
        return None
    each = {case_id: statistics.fmean(values) for case_id, values in own.items()}
    return BetweenRuns(shared / runs, rest / rest_degrees, each, runs, cases)
