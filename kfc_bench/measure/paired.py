"""The ratio of two times from visits taken in turn: what drifts, drifts for both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

FEWEST_PAIRS = 6
"""Below, no interval of 95 % exists."""


@cache
def _signed_rank_cdf(pairs: int) -> NDArray[np.float64]:
    """Distribution of Wilcoxon's signed-rank sum under symmetry: P(T <= t) for t = 0 .. pairs (pairs + 1) / 2."""
    weights = np.ones(1)
    for rank in range(1, pairs + 1):
        longer = np.zeros(len(weights) + rank)
        longer[: len(weights)] += weights / 2
        longer[rank:] += weights / 2
        weights = longer
    return np.minimum(1.0, np.cumsum(weights))


@dataclass(frozen=True)
class PairedRatio:
    """Other time over base time, from pairs of visits of the same round (Hodges & Lehmann 1963).

    The logarithm of each pair's ratio is symmetric about the true one if the two differ by a factor alone and each
    round visits them in random order. Then Wilcoxon's signed-rank test is exact for any distribution, and the interval
    is the set of ratios that it does not reject.

    Args:
        base: Medians of the visits of one case, by round.
        other: Those of the other, in the same rounds.
    """

    base: Sequence[float]
    other: Sequence[float]

    @property
    def pairs(self) -> int:
        """Rounds in which both were visited."""
        return min(len(self.base), len(self.other))

    @cached_property
    def _walsh(self) -> NDArray[np.float64]:
        """Sorted means of all pairs of log ratios, each with itself included."""
        logs = np.log(np.asarray(self.other[: self.pairs]) / np.asarray(self.base[: self.pairs]))
        rows, columns = np.triu_indices(self.pairs)
        return np.sort((logs[rows] + logs[columns]) / 2)

    @property
    def ratio(self) -> float:
        """The Hodges-Lehmann estimate."""
        return math.exp(float(np.median(self._walsh)))

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return the interval of the ratio.

        Args:
            confidence: Least coverage.

        Returns:
            Lower and upper end; None where there are too few pairs for that confidence.
        """
        outside = int(np.searchsorted(_signed_rank_cdf(self.pairs), (1 - confidence) / 2, side="right"))
        if outside == 0:
            return None
        return math.exp(self._walsh[outside - 1]), math.exp(self._walsh[-outside])

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value of "the ratio is at most ``bound``"."""
        return self._p(self._walsh > math.log(bound))

    def p_below(self, bound: float) -> float:
        """Return the one-sided p-value of "the ratio is at least ``bound``"."""
        return self._p(self._walsh < math.log(bound))

    def _p(self, beyond: NDArray[np.bool_]) -> float:
        opposite = len(beyond) - int(beyond.sum())
        return float(_signed_rank_cdf(self.pairs)[opposite])
