"""The input factor Omega of KFC (Grosse & Martens 2016, Eq. 23; elsewhere called A)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator, declines_gather, takes_anything
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor.rates import predictor
from kfc_kernels.input_factor.work import (
    autocovariance_work,
    declines_lags,
    implicit_gemm_work,
    reference_work,
    triton_autocovariance_work,
)
from kfc_kernels.results import check_running_average
from kfc_kernels.work import Work

MODULES = "kfc_kernels.input_factor"


def declines_triton_lags(case: Case) -> str | None:
    """Decline what a kernel of at most two axes does not take, and what lags do not pay for."""
    return declines_gather(case) or declines_lags(case)


WORK: dict[str, Callable[[Case], Work]] = {
    "triton_autocovariance": triton_autocovariance_work,
    "triton_implicit_gemm": implicit_gemm_work,
    "autocovariance": autocovariance_work,
    "reference": reference_work,
}
"""Counts the work of each implementation."""


def _implementation(name: str, declines: Callable[[Case], str | None] = takes_anything) -> Implementation:
    return Implementation(name, f"{MODULES}.{name}", "input_factor", declines, predictor(name, WORK[name]))


OPERATOR = Operator(
    "input_factor",
    (
        _implementation("triton_autocovariance", declines_triton_lags),
        _implementation("triton_implicit_gemm", declines_gather),
        _implementation("autocovariance", declines_lags),
        _implementation("reference"),
    ),
)


def input_factor(
    a: Tensor,
    geometry: ConvGeometry,
    *,
    implementation: str = "auto",
    out: Tensor | None = None,
    decay: float | None = None,
) -> Tensor:
    """Compute Omega = (1/N) sum_n [[a_n]]_H^T [[a_n]]_H (Eq. 23): a sum over positions, a mean over examples.

    Args:
        a: The layer's input, ``[N, C, *in]``.
        geometry: The layer.
        implementation: A name from ``OPERATOR.table``, or ``"auto"``.
        out: Where to write; a fresh tensor if None.
        decay: e of the running average ``out <- e*out + (1-e)*Omega``; None overwrites ``out``.

    Returns:
        ``[D, D]``, with groups ``[groups, D, D]``; float32 for 16-bit inputs, else the input's dtype.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: A shape or ``decay`` is wrong.
    """
    check_running_average(out, decay)
    batch = geometry.batch_of(a)
    run = OPERATOR.choose(implementation, Case(geometry, a.dtype, a.device, batch))
    return run(a, geometry, out=out, decay=decay)
