"""Handing visits of any clock to pytest-benchmark, by its public interface alone."""

from __future__ import annotations

from collections.abc import Iterable


class VisitTimer:
    """A timer whose time passes only when a round says so.

    Given as ``@pytest.mark.benchmark(timer=...)``, it makes each round of ``benchmark.pedantic`` last exactly
    as long as the visit it stands for, whose seconds may be a CUDA event's or a weighted sum of several.
    """

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        """Return the seconds so far."""
        return self._seconds

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._seconds += seconds


class Round:
    """One round is one visit: the timer advances by the median of its samples.

    The visits were made before: which of them count, and how many are enough, is known only at the end.

    Args:
        timer: The benchmark's timer.
        medians: Each visit's median, in seconds; a call takes the next.
    """

    def __init__(self, timer: VisitTimer, medians: Iterable[float]) -> None:
        self._timer, self._medians = timer, iter(medians)

    def __call__(self) -> None:
        """Last as long as the next visit."""
        self._timer.advance(next(self._medians))
