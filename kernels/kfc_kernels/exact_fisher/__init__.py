"""The exact Fisher matrix of a whole small network."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator, declines_without_triton
from kfc_kernels.results import check_running_average

MODULES = "kfc_kernels.exact_fisher"
OPERATOR = Operator(
    "exact_fisher",
    (
        Implementation(
            "triton_symmetric_product",
            f"{MODULES}.triton_symmetric_product",
            "exact_fisher",
            declines_without_triton,
        ),
        Implementation("symmetric", f"{MODULES}.symmetric", "exact_fisher"),
        Implementation("reference", f"{MODULES}.reference", "exact_fisher"),
    ),
)


def exact_fisher(
    gradients: Tensor, *, implementation: str = "auto", out: Tensor | None = None, decay: float | None = None
) -> Tensor:
    """Compute F = (1/N) sum_{v,n} J J^T (Eq. 3).

    Args:
        gradients: Per-example gradients of the whole network, ``[V, N, P]``.
        implementation: A name from ``OPERATOR.table``, or ``"auto"``.
        out: Where to write; a fresh tensor if None.
        decay: e of the running average ``out <- e*out + (1-e)*F``; None overwrites ``out``.

    Returns:
        ``[P, P]``; float32 for 16-bit inputs, else the input's dtype.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: A shape or ``decay`` is wrong.
    """
    check_running_average(out, decay)
    if gradients.ndim != 3 or 0 in gradients.shape:
        raise ValueError(f"gradients have shape {list(gradients.shape)}, but exact_fisher takes [V, N, P]")
    run = OPERATOR.choose(implementation, Case(None, gradients.dtype, gradients.device))
    return run(gradients, out=out, decay=decay)
