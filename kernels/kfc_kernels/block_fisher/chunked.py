"""Fisher blocks from the gradients of a few hundred examples, whose patches are never held together."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import extract_patches, group_gradients
from kfc_kernels.per_example import CHUNK_BYTES, example_chunks, layer_gradients, weight_gradients
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.symmetric import gram, symmetric_sum

# Examples whose gradients are multiplied together.
EXAMPLES_OF_A_PRODUCT = 512


def gradient_rows(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Iterator[Tensor]:
    """Lay gradients out as vectors, those of some hundred examples at a time.

    Args:
        a: ``[N, C, *in]``.
        g: ``[V, N, K, *out]``.
        geometry: The layer.

    Yields:
        ``[groups, V*n, KD/groups]``.
    """
    for inputs, vectors in zip(a.split(EXAMPLES_OF_A_PRODUCT), g.split(EXAMPLES_OF_A_PRODUCT, dim=1), strict=True):
        parts = list(layer_gradients(inputs, vectors, geometry))
        rows = torch.cat(parts) if len(parts) > 1 else parts[0]
        yield rows.flatten(2).transpose(0, 1)


def block_fisher(a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute the block as in `kfc_kernels.block_fisher.block_fisher`."""
    block = symmetric_sum(((rows, rows) for rows in gradient_rows(a, g, geometry)), 1 / a.shape[0])
    return store(block.reshape(geometry.grouped(*block.shape[1:])), out, decay)


def kernel_blocks(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Tensor:
    """Sum the outer products of each kernel's gradients.

    Args:
        a: ``[N, C, *in]``.
        g: ``[V, N, K, *out]``.
        geometry: The layer.

    Returns:
        ``[groups, K/groups, C/groups, k, k]``.
    """
    size = geometry.kernel_elements
    shape = geometry.groups, geometry.group_outputs, geometry.in_channels // geometry.groups
    blocks = a.new_zeros(shape[0] * shape[1] * shape[2], size, size, dtype=accumulation_dtype(a.dtype))
    for weights, _ in weight_gradients(a, g, geometry, max(CHUNK_BYTES, 2 * blocks.nbytes)):
        kernels = weights.reshape(weights.shape[0], -1, size).transpose(0, 1)
        blocks.baddbmm_(kernels.mT, kernels, alpha=1 / a.shape[0])
    return blocks.unflatten(0, shape)


def patch_products(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Iterator[tuple[Tensor, Tensor]]:
    """Form what multiplies to a 1x1 layer's block: patches weighted by the vectors' products, and patches.

    Args:
        a: ``[N, C, *in]``.
        g: ``[V, N, K, *out]``.
        geometry: The layer.

    Yields:
        ``[groups, n*|T|, D]`` twice.
    """
    elements = geometry.groups * geometry.positions * (2 * geometry.patch_dim + geometry.positions)
    for inputs, vectors in example_chunks(a, g, geometry, elements, CHUNK_BYTES):
        patches = extract_patches(inputs, geometry)
        outputs = vectors.movedim(0, 2).flatten(2, 3).transpose(0, 1)
        yield (outputs.mT @ outputs @ patches).flatten(1, 2), patches.flatten(1, 2)


def has_few_positions(geometry: ConvGeometry, vectors: int) -> bool:
    """Tell whether products of patches take fewer multiply-adds than those of gradients."""
    positions, outputs, size = geometry.positions, vectors * geometry.group_outputs, geometry.patch_dim
    return positions * (positions * (outputs + size) + size**2) < outputs * (positions * size + size**2)


def patch_block(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Tensor:
    """Sum the outer products of a 1x1 layer's gradients over outputs.

    Args:
        a: ``[N, C, *in]``.
        g: ``[V, N, K, *out]``.
        geometry: The layer.

    Returns:
        ``[groups, D, D]``.
    """
    scale = 1 / (a.shape[0] * geometry.group_outputs)
    if geometry.positions == 1:
        wide = accumulation_dtype(a.dtype)
        norms = group_gradients(g.to(wide), geometry).square().sum((1, 3)).sqrt()
        return gram(extract_patches(a.to(wide), geometry).squeeze(2) * norms, scale)
    if has_few_positions(geometry, g.shape[0]):
        return symmetric_sum(patch_products(a, g, geometry), scale)
    rows = (gradients.transpose(0, 1).flatten(1, 2) for gradients in layer_gradients(a, g, geometry))
    return symmetric_sum(((some, some) for some in rows), scale)


def mini_block_fisher(
    a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None
) -> Tensor:
    """Compute the mini-blocks as in `kfc_kernels.block_fisher.mini_block_fisher`."""
    blocks = (patch_block if geometry.kernel_elements == 1 else kernel_blocks)(a, g, geometry)
    return store(blocks.reshape(geometry.grouped(*blocks.shape[1:])), out, decay)
