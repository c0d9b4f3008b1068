"""The input factor Omega of KFC (Grosse & Martens 2016, Eq. 23; elsewhere called A)."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator, declines_gather
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor.rates import predictor
from kfc_kernels.input_factor.work import autocovariance_work, declines_lags, reference_work
from kfc_kernels.results import check_running_average

OPERATOR = Operator(
    "input_factor",
    (
        Implementation(
            "triton_implicit_gemm", "kfc_kernels.input_factor.triton_implicit_gemm", "input_factor", declines_gather
        ),
        Implementation(
            "autocovariance",
            "kfc_kernels.input_factor.autocovariance",
            "input_factor",
            declines_lags,
            predictor("autocovariance", autocovariance_work),
        ),
        Implementation(
            "reference",
            "kfc_kernels.input_factor.reference",
            "input_factor",
            seconds=predictor("reference", reference_work),
        ),
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
