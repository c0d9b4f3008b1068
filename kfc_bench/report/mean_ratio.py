"""Means over pairs, with Student's t intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


class MeanRatio(NamedTuple):
    """A geometric mean and its interval.

    Attributes:
        ratio: The mean; NaN of no pair.
        low: Lower end of its 95 % interval; NaN of fewer than two pairs.
        high: Upper end.
    """

    ratio: float
    low: float
    high: float

    def inverse(self) -> MeanRatio:
        """Return the ratio the other way round."""
        return MeanRatio(1 / self.ratio, 1 / self.high, 1 / self.low)


def mean(values: Sequence[float]) -> tuple[float, float, float]:
    """Average numbers.

    Args:
        values: The numbers.

    Returns:
        Their mean, NaN of none, and the ends of its 95 % t interval, NaN of fewer than two.
    """
    if not len(values):
        return math.nan, math.nan, math.nan
    middle = float(np.mean(values))
    if len(values) == 1:
        return middle, math.nan, math.nan
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * error
    return middle, middle - half, middle + half


def mean_ratio(base: Sequence[float], other: Sequence[float]) -> MeanRatio:
    """Average the ratios of pairs, with Student's t interval of their logarithms.

    Args:
        base: Positive numbers.
        other: Positive numbers, one for each.

    Returns:
        Other over base.
    """
    logs = np.log(np.asarray(other, dtype=float) / np.asarray(base, dtype=float))
    return MeanRatio(*map(math.exp, mean(logs.tolist())))
