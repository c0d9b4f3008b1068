"""Two optimizers seed by seed: how many times earlier one reaches a level, and by how much their metrics differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kfc_bench.report import mean_ratio as pairs
from kfc_bench.report.units import three


@dataclass(frozen=True)
class Paired:
    """A mean over paired seeds.

    Attributes:
        mean: Geometric mean of ratios, or mean of differences.
        low: Lower end of its 95 % t interval; nan with less than two pairs.
        high: Upper end.
        seeds: Pairs.
    """

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def decided(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    def __str__(self) -> str:
        """Return the numbers."""
        interval = f"[{three(self.low)}, {three(self.high)}]" if self.decided else "no interval"
        return f"{three(self.mean)} {interval}, {self.seeds} seed{'s' * (self.seeds != 1)}"


def mean_difference(differences: list[float]) -> Paired:
    """Return the mean of paired differences with its t interval."""
    return Paired(*pairs.mean(differences), len(differences))


def mean_ratio(ratios: list[float]) -> Paired:
    """Return the geometric mean of paired ratios with the t interval of their logarithms."""
    return Paired(*pairs.mean_ratio([1.0] * len(ratios), ratios), len(ratios))


def when(clock: pd.Series[float], values: pd.Series[float], level: float) -> float:
    """Return when a curve's running minimum first reaches a level, linear between evaluations; inf if it never does.

    Args:
        clock: Rising seconds or steps.
        values: The metric then, none missing.
        level: The level.
    """
    times, least = np.asarray(clock, float), np.minimum.accumulate(np.asarray(values, float))
    reached = np.flatnonzero(least <= level)
    if not len(reached):
        return math.inf
    first = reached[0]
    if first == 0:
        return float(times[0])
    share = (least[first - 1] - level) / (least[first - 1] - least[first])
    return float(times[first - 1] + share * (times[first] - times[first - 1]))


def speedup(slow: pd.DataFrame, fast: pd.DataFrame, clock: str, metric: str) -> float:
    """Return how many times earlier ``fast`` reaches the best level that both curves reach; nan if that is the start.

    Args:
        slow: One trial's curve.
        fast: Another's.
        clock: The column that time is read from.
        metric: The column that falls.
    """
    curves = [curve[[clock, metric]].dropna() for curve in (slow, fast)]
    if any(curve.empty for curve in curves):
        return math.nan
    level = max(curve[metric].min() for curve in curves)
    before, after = (when(curve[clock], curve[metric], level) for curve in curves)
    return before / after if before > 0 and after > 0 else math.nan


def by_seed(
    first: pd.DataFrame, second: pd.DataFrame, measure: Callable[[pd.DataFrame, pd.DataFrame], float]
) -> list[float]:
    """Measure the curves of two optimizers pair by pair, where both have the seed and the measure is a number."""
    seeds = sorted(set(first["seed"]) & set(second["seed"]))
    found = [measure(first[first["seed"] == seed], second[second["seed"] == seed]) for seed in seeds]
    return [value for value in found if not math.isnan(value)]
