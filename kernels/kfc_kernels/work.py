"""What one call of an implementation does: what cost models count, and rates turn into seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """What one call does.

    Attributes:
        flops: Multiplications and additions of its products.
        bytes: What it reads and writes, intermediate results included.
        calls: Kernels that it launches; on a CPU, torch operations that it calls.
        cached: Bytes that a GPU's programs read out of its cache, again and again.
    """

    flops: float
    bytes: float
    calls: float
    cached: float = 0.0
