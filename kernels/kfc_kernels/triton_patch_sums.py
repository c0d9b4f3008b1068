"""Patches summed over all positions without being formed: a product of each map with a filter of zeros and ones."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import with_zeros_padding
from kfc_kernels.tiles import FILTER_SIDE, tile
from kfc_kernels.triton_gather import view
from kfc_kernels.triton_launch import (
    POINTERS,
    Ahead,
    check_indices,
    meta_input,
    on_device_of,
    splits,
    summed,
)

# Steps of a sum below which splitting it further costs more than it gains.
STEPS_PER_SPLIT = 16


@triton.jit(do_not_specialize=["channels", "steps_per_split"])
def patch_sums_kernel(
    a: tl.tensor,
    out: tl.tensor,
    channels: tl.tensor,
    steps_per_split: tl.tensor,
    VIEW: tl.constexpr,
    BC: tl.constexpr,
    BE: tl.constexpr,
    BP: tl.constexpr,
) -> None:
    """Sum some channels' patch elements over one split's pixels; ``out`` is ``[splits, N, channels, elements]``.

    Column e of the filter tells of which pixels kernel element e ever lies on: each pixel is read once for all.
    """
    ELEMENTS: tl.constexpr = VIEW.kernel_elements
    PIXELS: tl.constexpr = VIEW.height * VIEW.width
    element_tiles: tl.constexpr = (ELEMENTS + BE - 1) // BE
    # Examples come first: only a grid's first axis takes more than 65,535.
    example = tl.program_id(0)
    split = tl.program_id(2)
    rows = tl.program_id(1) // element_tiles * BC + tl.arange(0, BC)
    elements = tl.program_id(1) % element_tiles * BE + tl.arange(0, BE)
    down = elements // VIEW.kernel_width * VIEW.dilation_y  # [BE]
    right = elements % VIEW.kernel_width * VIEW.dilation_x  # [BE]
    maps = a + example.to(tl.int64) * VIEW.example_step + rows.to(tl.int64) * VIEW.channel_step  # [BC]

    total = tl.zeros((BC, BE), tl.float32)
    first = split * steps_per_split
    for step in range(first, min(first + steps_per_split, tl.cdiv(PIXELS, BP))):
        pixel = step * BP + tl.arange(0, BP)
        y = pixel // VIEW.width
        x = pixel % VIEW.width
        inside = (rows < channels)[:, None] & (pixel < PIXELS)[None, :]
        values = tl.load(maps[:, None] + (y * VIEW.row_step + x * VIEW.column_step)[None, :], mask=inside, other=0.0)
        # A window's first row and column, were this pixel under element e of it.
        top = y[:, None] + VIEW.above - down[None, :]  # [BP, BE]
        start = x[:, None] + VIEW.left - right[None, :]
        covered = (top >= 0) & (start >= 0)
        covered &= (top < VIEW.out_height * VIEW.stride_y) & (start < VIEW.out_width * VIEW.stride_x)
        covered &= (top % VIEW.stride_y == 0) & (start % VIEW.stride_x == 0)
        total = tl.dot(values, covered.to(values.dtype), total, input_precision="ieee")  # [BC, BE]

    sums = out + (split * tl.num_programs(0) + example).to(tl.int64) * channels * ELEMENTS
    written = (rows < channels)[:, None] & (elements < ELEMENTS)[None, :]
    tl.store(sums + (rows[:, None] * ELEMENTS + elements[None, :]), total, mask=written)


def configuration(a: Tensor, geometry: ConvGeometry) -> dict[str, Any]:
    """Choose the constants and options of the launch.

    Args:
        a: ``[N, C, *in]``; only its layout and dtype are read.
        geometry: The layer, with zeros padding.

    Returns:
        Keyword arguments of the launch.
    """
    rows = tile(geometry.in_channels, largest=64)
    elements = tile(geometry.kernel_elements, largest=FILTER_SIDE)
    return {
        "VIEW": view(a, geometry),
        "BC": rows,
        "BE": elements,
        "BP": 32,
        "num_warps": 4,
        "num_stages": 3,
        "enable_fp_fusion": True,
    }


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype) -> Ahead:
    """Describe the launch of `patch_sums` for a contiguous input, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the input.

    Returns:
        The kernel, the types of its arguments and its configuration, in a list of one.
    """
    a, geometry = with_zeros_padding(meta_input(geometry, dtype), geometry)
    types = {"a": POINTERS[dtype], "out": "*fp32", "channels": "i32", "steps_per_split": "i32"}
    return [(patch_sums_kernel, types, configuration(a, geometry))]


def patch_sums(a: Tensor, geometry: ConvGeometry, *, operator: str) -> Tensor:
    """Sum each example's patches over all positions, in float32.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer.
        operator: The operator that they are for, for errors.

    Returns:
        ``[N, groups, D]``, ordered as ``weight.flatten(1)``; with a bias, |T| last.

    Raises:
        UnsupportedError: 32-bit indices cannot count an example's elements.
    """
    a, layer = with_zeros_padding(a, geometry)
    launch = configuration(a, layer)
    batch, channels = a.shape[:2]
    check_indices(operator, elements_of_an_example=max(a[0].numel(), channels * layer.kernel_elements))
    tiles = triton.cdiv(channels, launch["BC"]) * triton.cdiv(layer.kernel_elements, launch["BE"])
    steps = triton.cdiv(a[0, 0].numel(), launch["BP"])
    parts = splits(tiles * batch, triton.cdiv(steps, STEPS_PER_SPLIT), a.device)
    partial = torch.empty(parts, batch, channels, layer.kernel_elements, dtype=torch.float32, device=a.device)
    with on_device_of(a):
        patch_sums_kernel[batch, tiles, parts](a, partial, channels, triton.cdiv(steps, parts), **launch)
    sums = summed(partial).reshape(batch, layer.groups, -1)
    if not layer.bias:
        return sums
    return torch.cat([sums, sums.new_full((batch, layer.groups, 1), layer.positions)], -1)
