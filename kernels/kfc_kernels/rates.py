"""How fast devices work: what turns counted work into predicted seconds."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kfc_kernels.work import Work


@dataclass(frozen=True)
class Rates:
    """What a device does in a second.

    Attributes:
        flops: Multiplications and additions.
        bytes: Bytes to and from memory.
        call: Seconds that each call costs.
        cached: Bytes out of a GPU's cache; None where parts of the work follow one another, as on a CPU.
    """

    flops: float
    bytes: float
    call: float
    cached: float | None = None

    def seconds(self, work: Work) -> float:
        """Predict how long ``work`` takes: on a GPU its longest part, on a CPU all of them, and its calls."""
        parts = work.flops / self.flops, work.bytes / self.bytes
        if self.cached is None:
            return sum(parts) + work.calls * self.call
        return max(*parts, work.cached / self.cached) + work.calls * self.call

    def longest_part(self, work: Work) -> str:
        """Name what a GPU spends most of the time of ``work`` on: products, memory or cache."""
        cached = work.cached / self.cached if self.cached else 0.0
        parts = {"products": work.flops / self.flops, "memory": work.bytes / self.bytes, "cache": cached}
        return max(parts, key=lambda part: parts[part])


# An H100's by its data sheet, less what no kernel reaches; not measured. Its cache is as others have measured it.
PRODUCTS = {"float16": 7.9e14, "bfloat16": 7.9e14, "tf32": 4.0e14, "float32": 6.0e13, "float64": 6.0e13}
MEMORY, CACHE, LAUNCH = 3.0e12, 5.5e12, 4e-6


def gpu_rates(dtype: torch.dtype, share: float = 1.0) -> Rates:
    """Assume the rates of an H100, with torch's switch for float32 products as it stands.

    Args:
        dtype: Element type of the products' operands.
        share: What an implementation is assumed to reach of them.

    Returns:
        The rates.
    """
    kind = str(dtype).removeprefix("torch.")
    if dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32":
        kind = "tf32"
    return Rates(share * PRODUCTS[kind], share * MEMORY, LAUNCH, share * CACHE)
