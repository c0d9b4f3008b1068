"""Equal trials for every optimizer: a grid, then a few more where its winner points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

Value = float | str
Point = tuple[Value, ...]
"""A value for each axis, the learning rate first."""

Score = tuple[float, float]
"""Examples to the target (infinite if never reached) and, between equals, the last validation loss."""

WORST: Score = (math.inf, math.inf)
DIGITS = 6
CHOICES = ("batch", "schedule")
"""Axes that are never widened or halved: only what the suite declares is tried."""


@dataclass(frozen=True)
class Axis:
    """One hyperparameter and the values that the grid gives it.

    Attributes:
        name: Its name.
        values: Distinct values; a single one is held fixed.
    """

    name: str
    values: tuple[Value, ...]

    @property
    def is_refined(self) -> bool:
        """Whether further trials may lie between its values or beyond them."""
        return len(self.values) > 1 and self.name not in CHOICES

    def to_log(self, value: Value) -> float:
        """Map a value to the scale on which steps are even: the logarithm, of 1 - mu for momentum."""
        return -math.log(1 - float(value)) if self.name == "momentum" else math.log(float(value))

    def from_log(self, position: float) -> float:
        """Map back, to six significant digits; momentum stops at 0."""
        value = max(0.0, 1 - math.exp(-position)) if self.name == "momentum" else math.exp(position)
        return float(f"{value:.{DIGITS}g}")


def grid(axes: Sequence[Axis]) -> list[Point]:
    """Return every combination of the axes' values."""
    return list(product(*(axis.values for axis in axes)))


def _neighbours(axis: Axis, index: int, best: Point, tried: Mapping[Point, Score]) -> tuple[float | None, float | None]:
    positions = sorted({axis.to_log(point[index]) for point in tried})
    rank = positions.index(axis.to_log(best[index]))
    below = positions[rank - 1] if rank else None
    above = positions[rank + 1] if rank + 1 < len(positions) else None
    return below, above


def _refined(axes: Sequence[Axis]) -> list[tuple[int, Axis]]:
    return [(index, axis) for index, axis in enumerate(axes) if axis.is_refined]


def _with(point: Point, index: int, value: float) -> Point:
    return (*point[:index], value, *point[index + 1 :])


def winner(tried: Mapping[Point, Score]) -> Point:
    """Return the point with the best score, the first tried among equals; where all failed, that of the least rate."""
    best = min(tried, key=lambda point: tried[point])
    return best if tried[best] != WORST else min(tried, key=lambda point: point[0])


def is_on_edge(axes: Sequence[Axis], tried: Mapping[Point, Score]) -> bool:
    """Tell whether the winner has an extreme value on any refined axis, or failed: a better one may lie beyond."""
    best = winner(tried)
    if tried[best] == WORST:
        return True
    for index, axis in _refined(axes):
        below, above = _neighbours(axis, index, best, tried)
        if above is None or (below is None and float(best[index]) > 0):
            return True
    return False


def propose(axes: Sequence[Axis], tried: Mapping[Point, Score]) -> Point | None:
    """Choose the next point: beyond an edge where the winner lies on one, else half way across its widest gap.

    Args:
        axes: The hyperparameters.
        tried: Scores by point, at least the grid's.

    Returns:
        A point not tried yet; None where no axis is refined.
    """
    best = winner(tried)
    refined = _refined(axes)
    edges: list[Point] = []
    halves: list[tuple[float, Point]] = []
    for index, axis in refined:
        here = axis.to_log(best[index])
        below, above = _neighbours(axis, index, best, tried)
        if below is None and above is not None:
            edges.append(_with(best, index, axis.from_log(here - (above - here))))
        if above is None and below is not None:
            edges.append(_with(best, index, axis.from_log(here + (here - below))))
        halves += [
            (round(abs(here - other), DIGITS), _with(best, index, axis.from_log((here + other) / 2)))
            for other in (below, above)
            if other is not None
        ]
    halves.sort(key=lambda half: -half[0])
    return next((point for point in (*edges, *(point for _, point in halves)) if point not in tried), None)
