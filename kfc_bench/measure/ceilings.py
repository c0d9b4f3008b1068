"""The roofline's ceilings, measured on this machine in this run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import torch

from kfc_bench.measure.clock import clock_for

ATTEMPTS = 10


@dataclass(frozen=True)
class Ceilings:
    """What the device was seen to reach.

    Attributes:
        flops_per_s: Best of several square matrix products, floating point operations per second.
        bytes_per_s: Best of several copies out of memory, bytes read and written per second.
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
        dtype: Of the matrix product.

    Returns:
        The best of several attempts each.
    """
    clock = clock_for(device)
    size = 8192 if device == "cuda" else 1536
    left, right = (torch.randn(size, size, dtype=torch.float32, device=device).to(dtype) for _ in range(2))
    source = torch.zeros(2**29 if device == "cuda" else 2**26, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    best_product = best_copy = float("inf")
    deadline = time.monotonic() + 5
    for _ in range(ATTEMPTS):
        best_product = min(best_product, clock.sample(lambda: left @ right))
        best_copy = min(best_copy, clock.sample(lambda: target.copy_(source)))
        if time.monotonic() > deadline:
            break
    return Ceilings(2 * size**3 / best_product, 2 * source.numel() / best_copy)
