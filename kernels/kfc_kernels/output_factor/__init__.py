"""The output factor Gamma of KFC (Grosse & Martens 2016, Eq. 23; elsewhere called G or B)."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator, declines_without_triton
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import check_running_average
from kfc_kernels.symmetric import LEAST_BLOCK


def declines_many_outputs(case: Case) -> str | None:
    """Decline where half of a product is worth mirroring, and where each example's is larger than its vectors."""
    if case.geometry is None or case.geometry.group_outputs < min(LEAST_BLOCK + 1, case.geometry.positions):
        return None
    return (
        f"takes at most {LEAST_BLOCK} output channels of a group, and fewer than output positions, "
        f"not {case.geometry.group_outputs} at {case.geometry.positions}"
    )


def declines_few_outputs(case: Case) -> str | None:
    """Decline where half of a product is not worth mirroring."""
    if case.geometry is None or case.geometry.group_outputs > LEAST_BLOCK:
        return None
    return f"takes more than {LEAST_BLOCK} output channels of a group, not {case.geometry.group_outputs}"


MODULES = "kfc_kernels.output_factor"
OPERATOR = Operator(
    "output_factor",
    (
        Implementation(
            "triton_symmetric_product",
            f"{MODULES}.triton_symmetric_product",
            "output_factor",
            declines_without_triton,
        ),
        Implementation("per_example", f"{MODULES}.per_example", "output_factor", declines_many_outputs),
        Implementation("chunked", f"{MODULES}.chunked", "output_factor", declines_few_outputs),
        Implementation("reference", f"{MODULES}.reference", "output_factor"),
    ),
)


def output_factor(
    g: Tensor,
    geometry: ConvGeometry,
    *,
    implementation: str = "auto",
    out: Tensor | None = None,
    decay: float | None = None,
) -> Tensor:
    """Compute Gamma = 1/(N|T|) sum_{v,n,t} g g^T (Eq. 23): a mean over positions and examples, a sum over vectors.

    Args:
        g: Backpropagated vectors of each example's own loss, ``[N, K, *out]`` or ``[V, N, K, *out]``.
        geometry: The layer.
        implementation: A name from ``OPERATOR.table``, or ``"auto"``.
        out: Where to write; a fresh tensor if None.
        decay: e of the running average ``out <- e*out + (1-e)*Gamma``; None overwrites ``out``.

    Returns:
        ``[K, K]``, with groups ``[groups, K/groups, K/groups]``; float32 for 16-bit inputs, else the input's dtype.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: A shape or ``decay`` is wrong.
    """
    check_running_average(out, decay)
    run = OPERATOR.choose(implementation, Case(geometry, g.dtype, g.device))
    return run(geometry.vectors_of(g), geometry, out=out, decay=decay)
