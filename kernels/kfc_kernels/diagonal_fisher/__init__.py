"""The diagonal of a layer's Fisher block: mean squares of per-example gradients."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator, declines_gather
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.per_example import declines_many_positions, declines_small_batches
from kfc_kernels.results import check_running_average


def declines_positions(case: Case) -> str | None:
    """Decline more than one output position, over which a gradient is summed before it is squared."""
    if case.geometry is not None and case.geometry.positions > 1:
        return f"takes one output position, not {case.geometry.positions}"
    return None


def declines_triton_squares(case: Case) -> str | None:
    """Decline more than one output position, and what a gathering kernel does not take."""
    return declines_positions(case) or declines_gather(case)


def declines_squares(case: Case) -> str | None:
    """Decline what pairs of positions do not pay for, and several of a small batch."""
    return declines_many_positions(case) or declines_small_batches(case)


MODULES = "kfc_kernels.diagonal_fisher"
OPERATOR = Operator(
    "diagonal_fisher",
    (
        Implementation("triton_squares", f"{MODULES}.triton_squares", "diagonal_fisher", declines_triton_squares),
        Implementation("triton_implicit_gemm", f"{MODULES}.triton_implicit_gemm", "diagonal_fisher", declines_gather),
        Implementation("squares", f"{MODULES}.squares", "diagonal_fisher", declines_squares),
        Implementation("chunked", f"{MODULES}.chunked", "diagonal_fisher", declines_small_batches),
        Implementation("reference", f"{MODULES}.reference", "diagonal_fisher"),
    ),
)


def diagonal_fisher(
    a: Tensor,
    g: Tensor,
    geometry: ConvGeometry,
    *,
    implementation: str = "auto",
    out: Tensor | None = None,
    decay: float | None = None,
) -> Tensor:
    """Compute (1/N) sum_{v,n} (sum_t g a^T)^2, the diagonal of Eq. 12 with the bias beside each weight row.

    Args:
        a: The layer's input, ``[N, C, *in]``.
        g: Backpropagated vectors of each example's own loss, ``[N, K, *out]`` or ``[V, N, K, *out]``.
        geometry: The layer.
        implementation: A name from ``OPERATOR.table``, or ``"auto"``.
        out: Where to write; a fresh tensor if None.
        decay: e of the running average ``out <- e*out + (1-e)*new``; None overwrites ``out``.

    Returns:
        ``[K, D]``, with groups ``[groups, K/groups, D]``; float32 for 16-bit inputs, else the input's dtype.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: A shape or ``decay`` is wrong.
    """
    check_running_average(out, decay)
    g = geometry.vectors_of(g, geometry.batch_of(a))
    run = OPERATOR.choose(implementation, Case(geometry, a.dtype, a.device, a.shape[0]))
    return run(a, g, geometry, out=out, decay=decay)
