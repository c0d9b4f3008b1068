"""Fisher blocks from materialised per-example gradients."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import example_gradients
from kfc_kernels.results import accumulation_dtype, store


def block_fisher(a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute the block as in `kfc_kernels.block_fisher.block_fisher`."""
    wide = accumulation_dtype(a.dtype)
    rows = example_gradients(a.to(wide), g.to(wide), geometry).flatten(1, 2).flatten(2)
    block = rows.mT @ rows / a.shape[0]
    return store(block.reshape(geometry.grouped(*block.shape[1:])), out, decay)


def mini_block_fisher(
    a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None
) -> Tensor:
    """Compute the mini-blocks as in `kfc_kernels.block_fisher.mini_block_fisher`."""
    wide = accumulation_dtype(a.dtype)
    gradients = example_gradients(a.to(wide), g.to(wide), geometry).flatten(1, 2)
    if geometry.kernel_elements == 1:
        rows = gradients.flatten(1, 2)
        blocks = rows.mT @ rows / (a.shape[0] * geometry.group_outputs)
    else:
        weights = gradients[..., : geometry.patch_dim - geometry.bias]
        kernels = weights.unflatten(-1, (-1, geometry.kernel_elements)).movedim(1, 3)
        blocks = kernels.mT @ kernels / a.shape[0]
    return store(blocks.reshape(geometry.grouped(*blocks.shape[1:])), out, decay)
