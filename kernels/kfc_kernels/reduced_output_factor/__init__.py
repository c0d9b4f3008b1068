"""The output factor of K-FAC-reduce (Eschenhagen et al. 2023, Eq. 10)."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator, declines_gather
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import check_running_average

MODULES = "kfc_kernels.reduced_output_factor"
OPERATOR = Operator(
    "reduced_output_factor",
    (
        Implementation(
            "triton_patch_sums",
            f"{MODULES}.triton_patch_sums",
            "reduced_output_factor",
            declines_gather,
        ),
        Implementation("symmetric", f"{MODULES}.symmetric", "reduced_output_factor"),
        Implementation("reference", f"{MODULES}.reference", "reduced_output_factor"),
    ),
)


def reduced_output_factor(
    g: Tensor,
    geometry: ConvGeometry,
    *,
    implementation: str = "auto",
    out: Tensor | None = None,
    decay: float | None = None,
) -> Tensor:
    """Compute 1/(N|T|^2) sum_{v,n} (sum_t g)(sum_t g)^T.

    The product with `reduced_input_factor` is that of mean inputs with summed gradients; summing on
    both sides without the |T|^2 would be too large by it.

    Args:
        g: Backpropagated vectors of each example's own loss, ``[N, K, *out]`` or ``[V, N, K, *out]``.
        geometry: The layer.
        implementation: A name from ``OPERATOR.table``, or ``"auto"``.
        out: Where to write; a fresh tensor if None.
        decay: e of the running average ``out <- e*out + (1-e)*new``; None overwrites ``out``.

    Returns:
        ``[K, K]``, with groups ``[groups, K/groups, K/groups]``; float32 for 16-bit inputs, else the input's dtype.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: A shape or ``decay`` is wrong.
    """
    check_running_average(out, decay)
    run = OPERATOR.choose(implementation, Case(geometry, g.dtype, g.device))
    return run(geometry.vectors_of(g), geometry, out=out, decay=decay)
