"""How fast each implementation of the input factor gets through its work: what ``"auto"`` chooses by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from kfc_kernels.dispatch import Case
from kfc_kernels.input_factor.work import Work


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


# Fitted to the times in results/cpu/dispatch-fit, two cores, float32 (`kfc-bench choices`). On another CPU all of them
# shift; their ratios decide.
CPU = {
    "reference": Rates(flops=4.31e11, bytes=1.02e10, call=8.5e-6),
    "autocovariance": Rates(flops=3.11e11, bytes=7.93e9, call=8.1e-6),
}

# An H100's by its data sheet, less what no kernel reaches; not measured. Its cache is as others have measured it.
PRODUCTS = {"float16": 7.9e14, "bfloat16": 7.9e14, "tf32": 4.0e14, "float32": 6.0e13, "float64": 6.0e13}
MEMORY, CACHE, LAUNCH = 3.0e12, 5.5e12, 4e-6

# What a whole implementation is assumed to reach of that.
ASSUMED_SHARE = {"triton_autocovariance": 0.5, "triton_implicit_gemm": 0.5, "autocovariance": 0.4, "reference": 0.7}


def gpu_rates(name: str, dtype: torch.dtype) -> Rates:
    """Assume the rates of an implementation on a GPU, with torch's switch for float32 products as it stands."""
    # The implementations in torch operations multiply 16-bit inputs in float32.
    kind = str(dtype if "triton" in name or dtype.itemsize > 2 else torch.float32).removeprefix("torch.")
    if kind == "float32" and torch.backends.cuda.matmul.fp32_precision == "tf32":
        kind = "tf32"
    share = ASSUMED_SHARE[name]
    return Rates(share * PRODUCTS[kind], share * MEMORY, LAUNCH, share * CACHE)


def predictor(name: str, work: Callable[[Case], Work]) -> Callable[[Case], float]:
    """Make the function that predicts an implementation's time.

    Args:
        name: The implementation.
        work: Counts its work.

    Returns:
        Seconds of a case.
    """

    def seconds(case: Case) -> float:
        known = case.device.type == "cpu" and name in CPU
        rates = CPU[name] if known else gpu_rates(name, case.dtype)
        return rates.seconds(work(case))

    return seconds
