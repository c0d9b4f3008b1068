"""What vendors' data sheets promise, to stand beside what was measured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Datasheet:
    """A GPU's figures: dense products, no sparsity, at the boost clock.

    Attributes:
        product: The vendor's name.
        teraflops: 1e12 floating point operations per second of products by precision: ``ieee`` is float32 outside of
            tensor cores (AMD: of its matrix cores); a precision that is missing is one the GPU lacks. 16-bit figures
            are those with sums in float32.
        gigabytes_per_s: Memory bandwidth, 1e9 bytes per second.
        gigabytes: Memory, 1e9 bytes; where one product comes with several sizes, the least.
    """

    product: str
    teraflops: dict[str, float]
    gigabytes_per_s: float
    gigabytes: float

    def described(self) -> dict[str, Any]:
        """Return the figures as JSON, in operations and bytes per second."""
        return {
            "product": self.product,
            "flops_per_s": {precision: round(value * 1e12) for precision, value in self.teraflops.items()},
            "bytes_per_s": round(self.gigabytes_per_s * 1e9),
        }


def _flops(ieee: float, tf32: float | None, half: float) -> dict[str, float]:
    older = {"ieee": ieee, "fp16": half}
    return older if tf32 is None else older | {"tf32": tf32, "bf16": half}


_A100 = _flops(19.5, 156, 312)
_HOPPER_SXM = _flops(67, 494.7, 989.4)
_HOPPER_NVL = _flops(60, 417.5, 835.5)

DATASHEETS: tuple[tuple[str, Datasheet], ...] = (
    (r"\bB200\b", Datasheet("B200 (HGX)", _flops(75, 1125, 2250), 8000, 180)),
    (r"\bH200 NVL\b", Datasheet("H200 NVL", _HOPPER_NVL, 4800, 141)),
    (r"\bH200$", Datasheet("H200 SXM", _HOPPER_SXM, 4800, 141)),
    (r"\bH100 NVL\b", Datasheet("H100 NVL", _HOPPER_NVL, 3900, 94)),
    (r"\bH100 PCIe\b", Datasheet("H100 PCIe", _flops(51, 378, 756.5), 2000, 80)),
    (r"\bH100 80GB HBM3\b", Datasheet("H100 SXM", _HOPPER_SXM, 3350, 80)),
    (r"\bA100-SXM4-80GB\b", Datasheet("A100 80GB SXM", _A100, 2039, 80)),
    (r"\bA100 80GB PCIe\b", Datasheet("A100 80GB PCIe", _A100, 1935, 80)),
    (r"\bA100-SXM4-40GB\b", Datasheet("A100 40GB SXM", _A100, 1555, 40)),
    (r"\bA100-PCIE-40GB\b", Datasheet("A100 40GB PCIe", _A100, 1555, 40)),
    (r"\bL40S\b", Datasheet("L40S", _flops(91.6, 183, 362.05), 864, 48)),
    (r"\bL4\b", Datasheet("L4", _flops(30.3, 60, 121), 300, 24)),
    (r"\bA10\b", Datasheet("A10", _flops(31.2, 62.5, 125), 600, 24)),
    (r"\bT4\b", Datasheet("T4", _flops(8.1, None, 65), 320, 16)),
    (r"\bV100-SXM2\b", Datasheet("V100 SXM2", _flops(15.7, None, 125), 900, 16)),
    (r"\bV100-PCIE\b", Datasheet("V100 PCIe", _flops(14, None, 112), 900, 16)),
    (r"\bRTX 4090$", Datasheet("GeForce RTX 4090", _flops(82.6, 82.6, 165.2), 1008, 24)),
    (r"\bMI300X\b", Datasheet("Instinct MI300X", _flops(163.4, 653.7, 1307.4), 5300, 192)),
)
"""By a pattern in the name that torch gives the device; the first that fits counts."""


def datasheet(name: str) -> Datasheet | None:
    """Look a GPU up.

    Args:
        name: As torch and the driver spell it, such as ``NVIDIA H100 80GB HBM3``.

    Returns:
        Its data sheet; None for a GPU that is not listed, and for a slice of one (MIG).
    """
    if re.search(r"\bMIG\b", name):
        return None
    return next((sheet for pattern, sheet in DATASHEETS if re.search(pattern, name)), None)
