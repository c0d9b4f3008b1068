"""Memory by span: how high the allocator stood within each, and what each left allocated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from kfc_bench.spans import OTHER, Key, Layers, Listener


@dataclass
class SpanBytes:
    """Of one key, in bytes.

    Attributes:
        peak: The allocator's highest sum within it, beyond what was held when the call began.
        held: What it left allocated, over all its spans; below zero where it freed more.
    """

    peak: int = 0
    held: int = 0


def range_name(key: Key) -> str:
    """Return the name of a key's ranges in a trace."""
    phase, layers = key
    return f"kfc: {phase} {_layers(layers)}".rstrip()


def _layers(layers: Layers) -> str:
    if isinstance(layers, str):
        return layers
    return layers[0] + (f" and {len(layers) - 1} more" if len(layers) > 1 else "") if layers else ""


class Ranges(Listener):
    """Writes every span as a range into the trace of the profiler that runs; ranges do not overlap.

    Attributes:
        keys: By the names of their ranges.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Key] = {range_name(OTHER): OTHER}
        self._range: Any = None

    def border(self, key: Key) -> None:
        """End one range and begin the next."""
        self.close()
        name = range_name(key)
        self.keys[name] = key
        self._range = record_function(name)
        self._range.__enter__()

    def close(self) -> None:
        """End the last range."""
        if self._range is not None:
            self._range.__exit__(None, None, None)
            self._range = None


class Allocator(Protocol):
    """A device's allocator."""

    def held(self) -> int:
        """Return the bytes allocated."""

    def peak(self) -> int:
        """Return the most bytes allocated since the last call of this method."""


class CudaAllocator:
    """That of the current CUDA device; its statistics follow the host's calls, whatever the device is at."""

    def held(self) -> int:
        """Return the bytes allocated."""
        return torch.cuda.memory_allocated()

    def peak(self) -> int:
        """Return the most bytes allocated since the last call of this method."""
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak


class AllocatorLog(Listener):
    """Reads an allocator's statistics at every border.

    Args:
        allocator: The allocator.
    """

    def __init__(self, allocator: Allocator) -> None:
        super().__init__()
        self._allocator = allocator
        allocator.peak()
        self._start = self._before = allocator.held()
        self._key: Key = OTHER
        self.found: dict[Key, SpanBytes] = {}

    def border(self, key: Key) -> None:
        """Read off what the key that ends here has done."""
        held, own = self._allocator.held(), self.found.setdefault(self._key, SpanBytes())
        own.peak = max(own.peak, self._allocator.peak() - self._start)
        own.held += held - self._before
        self._before, self._key = held, key


def _by_range(profiled: profile, keys: dict[str, Key]) -> dict[Key, SpanBytes]:
    """Give each allocation to the range that it fell into, by time."""
    results: Any = profiled.profiler and profiled.profiler.kineto_results
    events = results.events()
    sizes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    ranges = sorted((event.start_ns(), keys[event.name()]) for event in events if event.name() in keys)
    found: dict[Key, SpanBytes] = {}
    held = place = 0
    for (_, key), end in zip(ranges, [*(begin for begin, _ in ranges[1:]), math.inf], strict=True):
        own = found.setdefault(key, SpanBytes())
        own.peak = max(own.peak, held)
        while place < len(sizes) and sizes[place][0] < end:
            held += sizes[place][1]
            own.held += sizes[place][1]
            own.peak = max(own.peak, held)
            place += 1
    return found


def memory_by_span(run: Callable[[Listener], object], device: str) -> dict[Key, SpanBytes]:
    """Run once and find the memory of each key.

    Args:
        run: The call; it is given the listener that its spans are to be told to.
        device: ``"cpu"`` (from the allocator's events) or ``"cuda"`` (from its statistics).

    Returns:
        Bytes by key.
    """
    if device == "cuda":
        log = AllocatorLog(CudaAllocator())
        run(log)
        log.border(OTHER)
        return log.found
    ranges = Ranges()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled:
        ranges.border(OTHER)
        run(ranges)
        ranges.close()
    return _by_range(profiled, ranges.keys)
