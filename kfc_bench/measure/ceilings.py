"""The roofline's ceilings, measured on this machine in this run."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from kfc_bench.measure.clock import clock_for

ATTEMPTS = 10
LEAST_S = 0.05
"""A ceiling is the best of at least so many samples, over at least so many seconds of the wall clock."""

SIDES = {"cpu": (256, 512, 1024, 2048, 8192), "cuda": (16384,)}
"""Sides of the matrices read: on the CPU, whose clock keeps caches warm, some fit in them."""


@dataclass(frozen=True)
class Ceilings:
    """What the device was seen to reach.

    Attributes:
        flops_per_s: Best of several square matrix products, floating point operations per second.
        bytes_per_s: Best of several matrix-vector products, bytes of the matrix read per second: out of memory on
            a GPU, whose cache is flushed before each sample, and out of whichever cache is fastest on a CPU.
    """

    flops_per_s: float
    bytes_per_s: float

    def least_seconds(self, flops: float, size: float) -> float:
        """Return the roofline's floor for so many FLOPs and bytes, in seconds."""
        return max(flops / self.flops_per_s, size / self.bytes_per_s)


@cache
def measured_ceilings(device: str, dtype: torch.dtype) -> Ceilings:
    """Measure the ceilings, once a process.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        dtype: Of the operands.

    Returns:
        The best of several attempts each.
    """
    clock = clock_for(device)

    def best(run: Callable[[], object]) -> float:
        samples: list[float] = []
        deadline = time.monotonic() + LEAST_S
        while len(samples) < ATTEMPTS or time.monotonic() < deadline:
            samples.append(clock.sample(run))
        return min(samples)

    size = 8192 if device == "cuda" else 1536
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = best(lambda: left @ right)
    bytes_per_s = 0.0
    for side in SIDES[device]:
        matrix, vector = (
            torch.ones(side, side, dtype=dtype, device=device),
            torch.ones(side, dtype=dtype, device=device),
        )
        seconds = best(functools.partial(torch.mv, matrix, vector))
        bytes_per_s = max(bytes_per_s, matrix.numel() * dtype.itemsize / seconds)
    return Ceilings(2 * size**3 / product, bytes_per_s)
