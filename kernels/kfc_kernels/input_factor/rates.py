"""How fast each implementation of the input factor gets through its work: what ``"auto"`` chooses by."""

from __future__ import annotations

from collections.abc import Callable

import torch

from kfc_kernels.dispatch import Case
from kfc_kernels.rates import Rates, gpu_rates
from kfc_kernels.work import Work

# Fitted to the times in results/cpu/dispatch-fit, two cores, float32 (`kfc-bench choices`). On another CPU all of them
# shift; their ratios decide.
CPU = {
    "reference": Rates(flops=4.31e11, bytes=1.02e10, call=8.5e-6),
    "autocovariance": Rates(flops=3.11e11, bytes=7.93e9, call=8.1e-6),
}

# What a whole implementation is assumed to reach of a GPU's rates.
ASSUMED_SHARE = {"triton_autocovariance": 0.5, "triton_implicit_gemm": 0.5, "autocovariance": 0.4, "reference": 0.7}


def operands(name: str, dtype: torch.dtype) -> torch.dtype:
    """Return in what an implementation multiplies: those in torch operations take 16-bit inputs in float32."""
    return dtype if "triton" in name or dtype.itemsize > 2 else torch.float32


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
        rates = CPU[name] if known else gpu_rates(operands(name, case.dtype), ASSUMED_SHARE[name])
        return rates.seconds(work(case))

    return seconds
