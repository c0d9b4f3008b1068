"""Peak memory of one call, and a limit on a process's own."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch.profiler import ProfilerActivity, profile

# The profiler's own log has a line for every start and stop; its errors are exceptions anyway.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")


@dataclass(frozen=True)
class PeakMemory:
    """Peaks during one call.

    Attributes:
        allocator_bytes: Torch's allocator beyond what was held before, the result included.
        rss_bytes: Resident memory of the process beyond what it was before; library scratch shows only here.
    """

    allocator_bytes: int
    rss_bytes: int


class _ResidentPeak(threading.Thread):
    """Polls the process's resident memory every millisecond."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process()
        self._start = self.peak = self._process.memory_info().rss
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.is_set():
            self.peak = max(self.peak, self._process.memory_info().rss)
            time.sleep(1e-3)

    def stop(self) -> int:
        self._done.set()
        self.join()
        return max(self.peak, self._process.memory_info().rss) - self._start


def _allocation_peak(profiled: profile) -> int:
    """Sum the profiler's allocation events in order of time and return the highest sum."""
    results: Any = profiled.profiler and profiled.profiler.kineto_results
    events = sorted((event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]")
    held = peak = 0
    for _, size in events:
        held += size
        peak = max(peak, held)
    return peak


def peak_memory(run: Callable[[], object], device: str) -> tuple[PeakMemory, object]:
    """Run once and measure both peaks.

    Args:
        run: The call; its result is held until the end, and so counted.
        device: ``"cpu"`` (from the allocator's events) or ``"cuda"`` (from its statistics).

    Returns:
        The peaks in bytes, and the call's result.
    """
    resident = _ResidentPeak()
    resident.start()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = run()
        torch.cuda.synchronize()
        allocator = torch.cuda.max_memory_allocated() - before
    else:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled:
            result = run()
        allocator = _allocation_peak(profiled)
    return PeakMemory(allocator, resident.stop()), result


def available_bytes(device: str) -> int:
    """Return the memory that a case may use: nine tenths of what is free on the device."""
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        held_in_reserve = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(0.9 * (free + held_in_reserve))
    return int(0.9 * psutil.virtual_memory().available)


def limit_own_memory(size: int) -> None:
    """Let this process allocate ``size`` bytes more than it holds, so that excess fails in it and nowhere else."""
    used = psutil.Process().memory_info().data
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (used + size, hard))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory ran out, on the host or the device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        phrase in str(error) for phrase in ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
    )
