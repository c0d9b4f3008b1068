"""The input factor of K-FAC-reduce (Eschenhagen et al. 2023, Eq. 10)."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator, declines_gather
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import check_running_average

MODULES = "kfc_kernels.reduced_input_factor"
OPERATOR = Operator(
    "reduced_input_factor",
    (
        Implementation(
            "triton_patch_sums",
            f"{MODULES}.triton_patch_sums",
            "reduced_input_factor",
            declines_gather,
        ),
        Implementation("filter_sums", f"{MODULES}.filter_sums", "reduced_input_factor"),
        Implementation("reference", f"{MODULES}.reference", "reduced_input_factor"),
    ),
)


def reduced_input_factor(
    a: Tensor,
    geometry: ConvGeometry,
    *,
    implementation: str = "auto",
    out: Tensor | None = None,
    decay: float | None = None,
) -> Tensor:
    """Compute (1/N) sum_n (sum_t a)(sum_t a)^T; with a bias the homogeneous entry of the sum is |T|.

    Args:
        a: The layer's input, ``[N, C, *in]``.
        geometry: The layer.
        implementation: A name from ``OPERATOR.table``, or ``"auto"``.
        out: Where to write; a fresh tensor if None.
        decay: e of the running average ``out <- e*out + (1-e)*new``; None overwrites ``out``.

    Returns:
        ``[D, D]``, with groups ``[groups, D, D]``; float32 for 16-bit inputs, else the input's dtype.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: A shape or ``decay`` is wrong.
    """
    check_running_average(out, decay)
    geometry.batch_of(a)
    run = OPERATOR.choose(implementation, Case(geometry, a.dtype, a.device))
    return run(a, geometry, out=out, decay=decay)
