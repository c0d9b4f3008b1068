"""The reduced input factor without patches: each kernel offset's sum is of the pixels that it sees.

Which pixels of an axis an offset sees is a 0/1 matrix, and the sum over positions is a product with one for each axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, reduce

import torch
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import with_zeros_padding
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.symmetric import gram

# Elements of the matrix of all axes up to which one product with it is faster than one with each.
ELEMENTS_OF_A_PRODUCT = 2**13


@lru_cache(maxsize=256)
def seen_pixels(geometry: ConvGeometry, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Count, for each axis, how often each kernel offset sees each pixel: once or never.

    Args:
        geometry: The layer, with zeros padding or none.
        dtype: Element type of the results.

    Returns:
        ``[in, kernel]`` for each axis, on the CPU.
    """
    axes = zip(
        geometry.in_size,
        geometry.kernel,
        geometry.stride,
        geometry.dilation,
        geometry.padding,
        geometry.out_size,
        strict=True,
    )
    matrices = []
    for size, kernel, stride, dilation, (before, _), positions in axes:
        offsets = torch.arange(size).unsqueeze(1) + before - dilation * torch.arange(kernel)
        seen = (offsets % stride == 0) & (offsets >= 0) & (offsets < stride * positions)
        matrices.append(seen.to(dtype))
    return tuple(matrices)


def sum_windows(maps: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Sum the pixels that each kernel offset sees.

    Args:
        maps: ``[n, *in]``.
        matrices: ``[in, kernel]`` for each axis.

    Returns:
        ``[n, kernel elements]``.
    """
    if len(matrices) < 2 or math.prod(matrix.numel() for matrix in matrices) <= ELEMENTS_OF_A_PRODUCT:
        return maps.flatten(1) @ reduce(torch.kron, matrices, maps.new_ones(1, 1))
    first, *others = matrices
    rows = first.mT.expand(len(maps), -1, -1) @ maps.flatten(2)
    return sum_windows(rows.reshape(-1, *maps.shape[2:]), others).reshape(len(maps), -1)


def reduced_input_factor(a: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute the factor as in `kfc_kernels.reduced_input_factor`."""
    a, layer = with_zeros_padding(a.to(accumulation_dtype(a.dtype)), geometry)
    maps = a.reshape(a.shape[0] * layer.in_channels, *layer.in_size)
    matrices = [matrix.to(a.device) for matrix in seen_pixels(layer, a.dtype)]
    sums = sum_windows(maps if layer.axes else maps.unsqueeze(-1), matrices)
    rows = sums.reshape(a.shape[0], layer.groups, -1).transpose(0, 1)
    if layer.bias:
        rows = torch.cat([rows, rows.new_full((*rows.shape[:2], 1), layer.positions)], dim=-1)
    factor = gram(rows, 1 / a.shape[0])
    return store(factor.reshape(geometry.grouped(*factor.shape[1:])), out, decay)
