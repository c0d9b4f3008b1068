"""Handing samples of any clock to pytest-benchmark, by its public interface alone."""

from __future__ import annotations

from typing import Protocol

from kfc_bench.measure.clock import Clock


class Sampled(Protocol):
    """Something that takes a sample of itself."""

    def sample(self, clock: Clock) -> float:
        """Return the seconds of one sample."""


class SampleTimer:
    """A timer whose time passes only when a sample says so.

    Given as ``@pytest.mark.benchmark(timer=...)``, it makes each round of ``benchmark.pedantic`` last exactly
    as long as the sample taken in it, be it a CUDA event's or a weighted sum of several.
    """

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        """Return the seconds so far."""
        return self._seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._seconds += seconds


class Round:
    """One round: a sample is taken, and the timer advances by it.

    Args:
        timer: The benchmark's timer.
        clock: Takes the sample.
        workload: Has ``sample(clock)``, in seconds.
    """

    def __init__(self, timer: SampleTimer, clock: Clock, workload: Sampled) -> None:
        self._timer, self._clock, self._workload = timer, clock, workload

    def __call__(self) -> None:
        """Take the sample."""
        self._timer.advance(self._workload.sample(self._clock))
