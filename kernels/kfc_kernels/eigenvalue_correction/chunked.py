"""The eigenvalue correction from a few examples' gradients at a time, rotated where that takes the fewest products.

The input's basis is applied to the patches, which is a convolution of the input with the eigenvectors, or to the
gradients; the output's to the vectors or to the gradients.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kfc_kernels.eigenvalue_correction.rotate import by_group, rotate
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import extract_patches, with_even_padding
from kfc_kernels.per_example import CHUNK_BYTES, example_chunks, layer_gradients
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.squares import add_squares

# Bytes of rotated patches and vectors that are held together.
PATCHES_BYTES = 2**22

# Output positions up to which patches are rotated as they are, not by a convolution.
POSITIONS_OF_A_PATCH = 16


def rotate_patches(a: Tensor, geometry: ConvGeometry, basis: Tensor) -> Tensor:
    """Apply the input's basis to the patches.

    Args:
        a: ``[n, C, *in]``.
        geometry: The layer.
        basis: ``[groups, D, D]``.

    Returns:
        ``[groups, n, |T|, D]``.
    """
    if geometry.kernel_elements == 1 or geometry.positions <= POSITIONS_OF_A_PATCH:
        return rotate(extract_patches(a, geometry), basis)
    size = geometry.patch_dim - geometry.bias
    filters = basis[:, :size].mT
    a, even = with_even_padding(a, geometry)
    rotated = torch.convolution(
        a,
        filters.reshape(-1, even.in_channels // even.groups, *even.kernel),
        basis[:, size].flatten() if even.bias else None,
        even.stride,
        [before for before, _ in even.padding],
        even.dilation,
        transposed=False,
        output_padding=[0] * even.axes,
        groups=even.groups,
    )
    return rotated.reshape(a.shape[0], even.groups, even.patch_dim, even.positions).transpose(0, 1).mT


def from_patches(a: Tensor, g: Tensor, geometry: ConvGeometry, left: Tensor, right: Tensor) -> Iterator[Tensor]:
    """Form rotated gradients of rotated patches and vectors, chunk by chunk.

    Args:
        a: ``[N, C, *in]``.
        g: ``[V, N, K, *out]``.
        geometry: The layer.
        left: The output's basis, ``[groups, K/groups, K/groups]``.
        right: The input's basis, ``[groups, D, D]``.

    Yields:
        ``[n, groups, K/groups, D]``.
    """
    elements = geometry.groups * geometry.positions * (geometry.patch_dim + 2 * geometry.group_outputs)
    examples = max(1, CHUNK_BYTES // (geometry.parameters * right.element_size()))
    for inputs, vectors in example_chunks(a, g, geometry, elements, PATCHES_BYTES):
        patches = rotate_patches(inputs, geometry, right).transpose(0, 1).split(examples)
        for vector in vectors:
            rotated = rotate(vector.transpose(0, 1).mT, left).transpose(0, 1).mT
            yield from (some @ theirs for some, theirs in zip(rotated.split(examples), patches, strict=True))


def from_gradients(a: Tensor, g: Tensor, geometry: ConvGeometry, left: Tensor, right: Tensor) -> Iterator[Tensor]:
    """Form gradients and rotate them, chunk by chunk.

    Args:
        a: ``[N, C, *in]``.
        g: ``[V, N, K, *out]``.
        geometry: The layer.
        left: The output's basis, ``[groups, K/groups, K/groups]``.
        right: The input's basis, ``[groups, D, D]``.

    Yields:
        ``[n, groups, K/groups, D]``.
    """
    for gradients in layer_gradients(a, g, geometry):
        yield left.mT @ rotate(gradients.transpose(0, 1), right).transpose(0, 1)


def eigenvalue_correction(
    a: Tensor,
    g: Tensor,
    geometry: ConvGeometry,
    output_basis: Tensor,
    input_basis: Tensor,
    *,
    out: Tensor | None,
    decay: float | None,
) -> Tensor:
    """Compute the correction as in `kfc_kernels.eigenvalue_correction`, in memory that does not grow with the batch."""
    wide = accumulation_dtype(a.dtype)
    shape = geometry.groups, geometry.group_outputs, geometry.patch_dim
    left, right = by_group(geometry, output_basis, input_basis, wide)
    total = a.new_zeros(shape, dtype=wide)
    rotated = from_patches if geometry.positions < g.shape[0] * geometry.group_outputs else from_gradients
    for gradients in rotated(a, g, geometry, left, right):
        add_squares(total, gradients)
    total /= a.shape[0]
    return store(total.reshape(geometry.grouped(*shape[1:])), out, decay)
