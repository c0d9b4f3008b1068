"""EKFAC's eigenvalue correction (George et al. 2018)."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator, declines_gather
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.per_example import declines_many_positions
from kfc_kernels.results import check_running_average

MODULES = "kfc_kernels.eigenvalue_correction"
OPERATOR = Operator(
    "eigenvalue_correction",
    (
        Implementation(
            "triton_gradients",
            f"{MODULES}.triton_gradients",
            "eigenvalue_correction",
            declines_gather,
        ),
        Implementation("squares", f"{MODULES}.squares", "eigenvalue_correction", declines_many_positions),
        Implementation("chunked", f"{MODULES}.chunked", "eigenvalue_correction"),
        Implementation("reference", f"{MODULES}.reference", "eigenvalue_correction"),
    ),
)


def eigenvalue_correction(
    a: Tensor,
    g: Tensor,
    geometry: ConvGeometry,
    output_basis: Tensor,
    input_basis: Tensor,
    *,
    implementation: str = "auto",
    out: Tensor | None = None,
    decay: float | None = None,
) -> Tensor:
    """Compute (1/N) sum_{v,n} (Q_K^T G Q_D)^2, the exact second moments in the Kronecker eigenbasis.

    Args:
        a: The layer's input, ``[N, C, *in]``.
        g: Backpropagated vectors of each example's own loss, ``[N, K, *out]`` or ``[V, N, K, *out]``.
        geometry: The layer.
        output_basis: Eigenvectors of Gamma as columns, ``[K, K]``; with groups ``[groups, K/groups, K/groups]``.
        input_basis: Eigenvectors of Omega as columns, ``[D, D]``; with groups ``[groups, D, D]``.
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
    return run(a, g, geometry, output_basis, input_basis, out=out, decay=decay)
