"""The roofline's ceilings, measured on this machine in this run."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from kfc_bench.measure.clock import Cache, clock_for
from kfc_bench.measure.memory import is_out_of_memory
from kfc_bench.measure.precision import precision_in_force

ATTEMPTS = 10
LEAST_S = 0.05
MOST_S = 0.5
"""A ceiling is the best of so many samples: of more until the least time has passed, of fewer once the most has."""

PRODUCT_SIDE = {"cpu": 1024, "cuda": 8192}

CONVOLUTION = {"cpu": (8, 128, 28), "cuda": (64, 256, 56)}
"""Examples, channels in and out, and side of the maps; the kernel is 3x3."""

MEMORY_SIDES = {"cpu": (4096,), "cuda": (16384,)}
CACHE_SIDES = {"cpu": (256, 512, 1024, 2048), "cuda": (1024, 1536, 2048, 3072)}
"""Sides of the square matrices that are read: too large for any cache, and small enough for some."""


@dataclass(frozen=True)
class Ceilings:
    """What the device was seen to reach.

    Attributes:
        flops_per_s: The better of a matrix product and a convolution, floating point operations per second. A
            convolution's are those of the direct sum, also where the library's algorithm needs fewer.
        bytes_per_s: Bytes read, or read and written, per second: out of memory where the cache is cold, out of
            whatever is fastest where it is hot.
    """

    flops_per_s: float
    bytes_per_s: float

    def least_seconds(self, flops: float, size: float) -> float:
        """Return the roofline's floor for so many FLOPs and bytes, in seconds."""
        return max(flops / self.flops_per_s, size / self.bytes_per_s)

    def best_of(self, other: Ceilings) -> Ceilings:
        """Return the higher of each ceiling."""
        return Ceilings(max(self.flops_per_s, other.flops_per_s), max(self.bytes_per_s, other.bytes_per_s))


Key = tuple[str, torch.dtype, Cache, str]

_found: dict[Key, Ceilings] = {}


def _key(device: str, dtype: torch.dtype, cache: Cache) -> Key:
    return device, dtype, cache, precision_in_force() if device == "cuda" else ""


def measured_ceilings(device: str, dtype: torch.dtype, cache: Cache) -> Ceilings:
    """Return the ceilings under the precision flags in force, measuring them the first time.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        dtype: Of the operands.
        cache: What a sample finds in the cache.

    Returns:
        The best seen so far in this process.
    """
    key = _key(device, dtype, cache)
    return _found[key] if key in _found else remeasured_ceilings(device, dtype, cache)


def remeasured_ceilings(device: str, dtype: torch.dtype, cache: Cache) -> Ceilings:
    """Measure the ceilings in any case, and return the best seen so far in this process.

    If memory is short, those of before stand.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        dtype: Of the operands.
        cache: What a sample finds in the cache.

    Returns:
        The higher of each ceiling, then and now.
    """
    key = _key(device, dtype, cache)
    before = _found.get(key)
    try:
        now = _measure(device, dtype, cache)
    except Exception as error:
        if before is None or not is_out_of_memory(error):
            raise
        return before
    _found[key] = now if before is None else now.best_of(before)
    return _found[key]


def forget_ceilings() -> None:
    """Forget all ceilings, so that the next ones are measured."""
    _found.clear()


def _measure(device: str, dtype: torch.dtype, cache: Cache) -> Ceilings:
    try:
        return Ceilings(
            max(_rates(device, cache, _products(device, dtype))),
            max(_rates(device, cache, _reads(device, dtype, cache))),
        )
    finally:
        if device == "cuda":
            torch.cuda.empty_cache()


def _rates(device: str, cache: Cache, calls: Iterator[tuple[float, Callable[[], object]]]) -> Iterator[float]:
    for work, run in calls:
        # Each has a clock of its own: a clock remembers its calls, and with them their operands.
        clock = clock_for(device, cache)
        start = time.monotonic()
        samples = [clock.sample(run)]
        while (elapsed := time.monotonic() - start) < MOST_S and (len(samples) < ATTEMPTS or elapsed < LEAST_S):
            samples.append(clock.sample(run))
        yield work / min(samples)


def _products(device: str, dtype: torch.dtype) -> Iterator[tuple[float, Callable[[], object]]]:
    side = PRODUCT_SIDE[device]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    yield 2 * side**3, functools.partial(torch.mm, left, right)
    examples, channels, side = CONVOLUTION[device]
    maps = torch.randn(examples, channels, side, side, device=device).to(dtype)
    weight = torch.randn(channels, channels, 3, 3, device=device).to(dtype)
    flops = 2 * examples * side**2 * channels**2 * 9
    for layout in (torch.contiguous_format, torch.channels_last):
        operands = (tensor.contiguous(memory_format=layout) for tensor in (maps, weight))
        yield flops, functools.partial(functional.conv2d, *operands, padding=1)


def _reads(device: str, dtype: torch.dtype, cache: Cache) -> Iterator[tuple[float, Callable[[], object]]]:
    for side in MEMORY_SIDES[device] + (CACHE_SIDES[device] if cache == "hot" else ()):
        matrix = torch.ones(side, side, dtype=dtype, device=device)
        size = matrix.numel() * dtype.itemsize
        yield size, functools.partial(torch.mv, matrix, matrix[0])
        if device == "cuda":
            yield 2 * size, functools.partial(torch.empty_like(matrix).copy_, matrix)
