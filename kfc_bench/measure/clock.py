"""Seconds of one call, on the device that runs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch

SHORTEST_SAMPLE_S = 200e-6
"""A CPU sample repeats its call until it lasts this long; reading the timer adds some 50 ns to each."""


class Clock(Protocol):
    """Times calls; a sample is seconds per call."""

    def sample(self, run: Callable[[], object]) -> float:
        """Time ``run`` once and return seconds per call."""

    def synchronize(self) -> None:
        """Wait until everything queued has run."""


class CpuClock:
    """Wall clock of the host, warm caches; short calls are repeated within one sample."""

    def sample(self, run: Callable[[], object]) -> float:
        """Time ``run`` and return seconds per call."""
        calls = 0
        start = time.perf_counter()
        while True:
            run()
            calls += 1
            elapsed = time.perf_counter() - start
            if elapsed >= SHORTEST_SAMPLE_S:
                return elapsed / calls

    def synchronize(self) -> None:
        """Return at once: the host waits for its own calls."""


class CudaClock:
    """Time between two events on the current stream, with the L2 cache overwritten before each sample."""

    def __init__(self) -> None:
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self._flush = torch.empty(properties.L2_cache_size, dtype=torch.int8, device="cuda")

    def sample(self, run: Callable[[], object]) -> float:
        """Time ``run`` once and return seconds."""
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self._flush.zero_()
        begin.record()
        run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    def synchronize(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize()


def clock_for(device: str) -> Clock:
    """Return the clock of ``"cpu"`` or ``"cuda"``."""
    return CudaClock() if device == "cuda" else CpuClock()
