"""A layer's exact Fisher block, and its mini-blocks."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator, declines_gather
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.per_example import declines_small_batches
from kfc_kernels.results import check_running_average

MODULES = "kfc_kernels.block_fisher"


def declines_kernels(case: Case) -> str | None:
    """Decline layers whose mini-blocks are those of kernels, and what a gathering kernel does not take."""
    if case.geometry is not None and case.geometry.kernel_elements > 1:
        return f"takes 1x1 layers, not kernel {case.geometry.kernel}"
    return declines_gather(case)


def declines_single_elements(case: Case) -> str | None:
    """Decline 1x1 layers, which have one mini-block, and what a gathering kernel does not take."""
    if case.geometry is not None and case.geometry.kernel_elements == 1:
        return "takes kernels of several elements, not 1x1 layers"
    return declines_gather(case)


OPERATOR = Operator(
    "block_fisher",
    (
        Implementation("triton_gradients", f"{MODULES}.triton_gradients", "block_fisher", declines_gather),
        Implementation("chunked", f"{MODULES}.chunked", "block_fisher", declines_small_batches),
        Implementation("reference", f"{MODULES}.reference", "block_fisher"),
    ),
)
MINI_OPERATOR = Operator(
    "mini_block_fisher",
    (
        Implementation(
            "triton_mini_blocks", f"{MODULES}.triton_mini_blocks", "mini_block_fisher", declines_single_elements
        ),
        Implementation("triton_gradients", f"{MODULES}.triton_gradients", "mini_block_fisher", declines_kernels),
        Implementation("chunked", f"{MODULES}.chunked", "mini_block_fisher", declines_small_batches),
        Implementation("reference", f"{MODULES}.reference", "mini_block_fisher"),
    ),
)


def block_fisher(
    a: Tensor,
    g: Tensor,
    geometry: ConvGeometry,
    *,
    implementation: str = "auto",
    out: Tensor | None = None,
    decay: float | None = None,
) -> Tensor:
    """Compute (1/N) sum_{v,n} vec(G) vec(G)^T (Eq. 12), vec in row-major order of ``[K, D]``.

    Blocks between groups are not formed: each group has its own block.

    Args:
        a: The layer's input, ``[N, C, *in]``.
        g: Backpropagated vectors of each example's own loss, ``[N, K, *out]`` or ``[V, N, K, *out]``.
        geometry: The layer.
        implementation: A name from ``OPERATOR.table``, or ``"auto"``.
        out: Where to write; a fresh tensor if None.
        decay: e of the running average ``out <- e*out + (1-e)*new``; None overwrites ``out``.

    Returns:
        ``[KD, KD]``, with groups ``[groups, KD/groups, KD/groups]``; float32 for 16-bit inputs, else the input's dtype.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: A shape or ``decay`` is wrong.
    """
    check_running_average(out, decay)
    g = geometry.vectors_of(g, geometry.batch_of(a))
    run = OPERATOR.choose(implementation, Case(geometry, a.dtype, a.device, a.shape[0]))
    return run(a, g, geometry, out=out, decay=decay)


def mini_block_fisher(
    a: Tensor,
    g: Tensor,
    geometry: ConvGeometry,
    *,
    implementation: str = "auto",
    out: Tensor | None = None,
    decay: float | None = None,
) -> Tensor:
    """Compute the mini-blocks of Bahamou, Goldfarb & Ren (2023): one per kernel, or one ``[D, D]`` for 1x1 layers.

    A convolution has one kernel-sized block for each pair of output and input channel; its biases belong
    to no kernel (`diagonal_fisher` has them). A linear layer, or 1x1 convolution, has one block of its
    patches, averaged over outputs.

    Args:
        a: The layer's input, ``[N, C, *in]``.
        g: Backpropagated vectors of each example's own loss, ``[N, K, *out]`` or ``[V, N, K, *out]``.
        geometry: The layer.
        implementation: A name from ``MINI_OPERATOR.table``, or ``"auto"``.
        out: Where to write; a fresh tensor if None.
        decay: e of the running average ``out <- e*out + (1-e)*new``; None overwrites ``out``.

    Returns:
        ``[K, C/groups, k, k]`` for k = kernel elements, or ``[D, D]`` for 1x1 layers, both with a leading
        ``[groups]`` (and K/groups) where there are groups.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: A shape or ``decay`` is wrong.
    """
    check_running_average(out, decay)
    g = geometry.vectors_of(g, geometry.batch_of(a))
    run = MINI_OPERATOR.choose(implementation, Case(geometry, a.dtype, a.device, a.shape[0]))
    return run(a, g, geometry, out=out, decay=decay)
