"""The mean ratio of pairs, with an interval."""

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


def mean_ratio(base: Sequence[float], other: Sequence[float]) -> MeanRatio:
    """Average the ratios of pairs, with Student's t interval of their logarithms.

    Args:
        base: Positive numbers.
        other: Positive numbers, one for each.

    Returns:
        Other over base.
    """
    logs = np.log(np.asarray(other, dtype=float) / np.asarray(base, dtype=float))
    if not len(logs):
        return MeanRatio(math.nan, math.nan, math.nan)
    mean = float(np.mean(logs))
    if len(logs) == 1:
        return MeanRatio(math.exp(mean), math.nan, math.nan)
    error = float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    half = float(stdtrit(len(logs) - 1, (1 + CONFIDENCE) / 2)) * error
    return MeanRatio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
