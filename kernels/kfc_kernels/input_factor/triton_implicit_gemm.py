"""The input factor as a symmetric product of patches that are gathered on the fly and never stored."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import with_zeros_padding
from kfc_kernels.results import store
from kfc_kernels.triton_gather import gather_patches, view
from kfc_kernels.triton_launch import (
    POINTERS,
    Ahead,
    check_indices,
    exact,
    meta_input,
    on_device_of,
    product_options,
    splits,
    tile,
)

# Steps of the pixel sum below which splitting it further costs more than it gains.
STEPS_PER_SPLIT = 4


@triton.jit
def lower_triangle(index: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Return row and column of the ``index``-th tile of a lower triangle, counted row by row."""
    row = ((tl.sqrt(8.0 * index + 1.0) - 1.0) * 0.5).to(tl.int32)
    row -= (row * (row + 1) // 2 > index).to(tl.int32)
    row += ((row + 1) * (row + 2) // 2 <= index).to(tl.int32)
    return row, index - row * (row + 1) // 2


@triton.jit(do_not_specialize=["pixels", "pixels_per_split", "scale"])
def input_factor_kernel(
    a: tl.tensor,
    out: tl.tensor,
    pixels: tl.tensor,
    pixels_per_split: tl.tensor,
    scale: tl.tensor,
    VIEW: tl.constexpr,
    BD: tl.constexpr,
    BP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Sum one tile of the lower triangle over one split's pixels; ``out`` is ``[splits, groups, D, D]``."""
    D: tl.constexpr = VIEW.weights + VIEW.bias
    tile_row, tile_column = lower_triangle(tl.program_id(0))
    group = tl.program_id(1)
    split = tl.program_id(2)
    rows = tile_row * BD + tl.arange(0, BD)
    columns = tile_column * BD + tl.arange(0, BD)

    total = tl.zeros((BD, BD), tl.float32)
    first = split * pixels_per_split
    for start in range(first, min(first + pixels_per_split, pixels), BP):
        pixel = start + tl.arange(0, BP)
        example = pixel // VIEW.positions
        position = pixel % VIEW.positions
        left = gather_patches(a, group, rows, example, position, pixel < pixels, VIEW)  # [BD, BP]
        right = gather_patches(a, group, columns, example, position, pixel < pixels, VIEW)  # [BD, BP]
        total = tl.dot(left, tl.trans(right), total, input_precision=PRECISION)  # [BD, BD]

    total *= scale
    triangle = (rows[:, None] >= columns[None, :]) & (rows[:, None] < D)
    matrix = out + (split * tl.num_programs(1) + group).to(tl.int64) * (D * D)
    tl.store(matrix + (rows[:, None] * D + columns[None, :]), total, mask=triangle)
    tl.store(matrix + (columns[None, :] * D + rows[:, None]), total, mask=triangle)


def configuration(a: Tensor, geometry: ConvGeometry) -> dict[str, Any]:
    """Choose the constants and options of the launch.

    Args:
        a: ``[N, C, *in]``; only its layout and dtype are read.
        geometry: The layer, with zeros padding.

    Returns:
        Keyword arguments of the launch.
    """
    side = tile(geometry.patch_dim, largest=64 if exact(a.dtype) else 128)
    # Each thread keeps the index arithmetic of its rows, so that the largest 16-bit tiles only fit with few pixels.
    narrow = exact(a.dtype) or (side == 128 and a.dtype != torch.float32)
    return {
        "VIEW": view(a, geometry),
        "BD": side,
        "BP": 16 if narrow else 32,
        **product_options(side, side, a.dtype),
    }


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype) -> Ahead:
    """Describe the launch for a contiguous input, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the input.

    Returns:
        The kernel, the types of its arguments, and its `configuration`, in a list of one.
    """
    types = {"a": POINTERS[dtype], "out": "*fp32", "pixels": "i32", "pixels_per_split": "i32", "scale": "fp32"}
    return [(input_factor_kernel, types, configuration(*with_zeros_padding(meta_input(geometry, dtype), geometry)))]


def input_factor(a: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return Omega as `kfc_kernels.input_factor` does, reading each patch from the input where it lies."""
    a, geometry = with_zeros_padding(a, geometry)
    launch = configuration(a, geometry)
    batch, dim, pixels = a.shape[0], geometry.patch_dim, a.shape[0] * geometry.positions
    check_indices("input_factor", pixels=pixels, elements_of_an_example=a[0].numel(), factor_elements=dim * dim)
    side = triton.cdiv(dim, launch["BD"])
    tiles = side * (side + 1) // 2
    steps = triton.cdiv(pixels, launch["BP"])
    parts = splits(tiles * geometry.groups, triton.cdiv(steps, STEPS_PER_SPLIT), a.device)
    pixels_per_split = triton.cdiv(steps, parts) * launch["BP"]
    partial = torch.empty(parts, geometry.groups, dim, dim, dtype=torch.float32, device=a.device)
    with on_device_of(a):
        input_factor_kernel[tiles, geometry.groups, parts](a, partial, pixels, pixels_per_split, 1 / batch, **launch)
    omega = partial.sum(0) if parts > 1 else partial[0]
    return store(omega.reshape(geometry.grouped(dim, dim)), out, decay)
