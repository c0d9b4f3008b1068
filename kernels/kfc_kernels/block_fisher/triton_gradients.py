"""Fisher blocks from the gradients of a few examples at a time, each chunk's symmetric product added to the block."""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels import triton_gradients, triton_symmetric
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import accumulate
from kfc_kernels.triton_launch import Ahead

# Side of the blocks that it is for.
SIDE = 4000


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launches for contiguous operands, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the operands.
        target: The architecture; all have the same launches.

    Returns:
        The launch that forms gradients, then as `kfc_kernels.triton_symmetric.ahead_of_time`.
    """
    products = triton_symmetric.ahead_of_time(SIDE, torch.float32, channels_inner=True)
    return [*triton_gradients.ahead_of_time(geometry, dtype), *products]


def block_fisher(a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return the block as `kfc_kernels.block_fisher.block_fisher` does."""
    side = geometry.group_outputs * geometry.patch_dim

    def write(block: Tensor, kept: float) -> None:
        scale = (1 - kept) / a.shape[0]
        for chunk in triton_gradients.gradient_chunks(a, g, geometry, operator="block_fisher"):
            rows = chunk.flatten(2).unsqueeze(-1)
            triton_symmetric.symmetric_product(rows, block, operator="block_fisher", scale=scale, kept=kept)
            kept = 1.0

    return accumulate(write, geometry.grouped(side, side), a.device, out, decay)


def mini_block_fisher(
    a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None
) -> Tensor:
    """Return the mini-blocks of a 1x1 layer as `kfc_kernels.block_fisher.mini_block_fisher` does."""

    def write(block: Tensor, kept: float) -> None:
        scale = (1 - kept) / (a.shape[0] * geometry.group_outputs)
        for chunk in triton_gradients.gradient_chunks(a, g, geometry, operator="mini_block_fisher"):
            rows = chunk.movedim(-1, 2)
            triton_symmetric.symmetric_product(rows, block, operator="mini_block_fisher", scale=scale, kept=kept)
            kept = 1.0

    patch = geometry.patch_dim
    return accumulate(write, geometry.grouped(patch, patch), a.device, out, decay)
