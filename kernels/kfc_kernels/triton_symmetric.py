"""Symmetric products X^T X in Triton: one triangle is summed, both are written."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.tiles import SYMMETRIC_SIDE, tile
from kfc_kernels.triton_gather import gathered_element
from kfc_kernels.triton_launch import (
    POINTERS,
    STEPS_PER_SPLIT,
    Ahead,
    check_indices,
    on_device_of,
    product_options,
    splits,
)


@triton.jit
def lower_triangle(index: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Return row and column of the ``index``-th tile of a lower triangle, counted row by row."""
    row = ((tl.sqrt(8.0 * index + 1.0) - 1.0) * 0.5).to(tl.int32)
    row -= (row * (row + 1) // 2 > index).to(tl.int32)
    row += ((row + 1) * (row + 2) // 2 <= index).to(tl.int32)
    return row, index - row * (row + 1) // 2


@triton.jit
def store_mirrored(
    matrix: tl.tensor,
    total: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    D: tl.tensor,
    scale: tl.tensor,
    decay: tl.tensor,
) -> None:
    """Write ``decay * matrix + scale * total`` on and below the diagonal of ``[D, D]``, and its mirror image."""
    below = matrix + (rows[:, None] * D + columns[None, :])
    lower = (rows < D)[:, None] & (columns < D)[None, :] & (rows[:, None] >= columns[None, :])
    total *= scale
    if decay > 0:
        total += decay * tl.load(below, mask=lower, other=0.0)
    tl.store(below, total, mask=lower)
    tl.store(matrix + (columns[None, :] * D + rows[:, None]), total, mask=lower)


@triton.jit(do_not_specialize=["parts", "channels", "kernel_elements", "D", "scale", "decay"])
def symmetric_sum_kernel(
    partial: tl.tensor,
    out: tl.tensor,
    parts: tl.tensor,
    channels: tl.tensor,
    kernel_elements: tl.tensor,
    D: tl.tensor,
    scale: tl.tensor,
    decay: tl.tensor,
    BR: tl.constexpr,
    BC: tl.constexpr,
) -> None:
    """Write one tile of ``decay * out + scale * sum``; of each ``[D, D]`` in ``partial`` the lower triangle is read.

    ``partial`` is ``[parts, groups, D, D]`` in gathered order, which for a kernel of one element is that of ``out``.
    """
    group = tl.program_id(2)
    rows = tl.program_id(0) * BR + tl.arange(0, BR)
    columns = tl.program_id(1) * BC + tl.arange(0, BC)
    i = gathered_element(rows, channels, kernel_elements)[:, None]
    j = gathered_element(columns, channels, kernel_elements)[None, :]
    place = tl.maximum(i, j) * D + tl.minimum(i, j)
    inside = (rows < D)[:, None] & (columns < D)[None, :]

    total = tl.zeros((BR, BC), tl.float32)
    for part in range(parts):
        matrix = partial + (part * tl.num_programs(2) + group).to(tl.int64) * D * D
        total += tl.load(matrix + place, mask=inside, other=0.0)
    factor = out + group.to(tl.int64) * D * D
    here = factor + (rows[:, None] * D + columns[None, :])
    total *= scale
    if decay > 0:
        total += decay * tl.load(here, mask=inside, other=0.0)
    tl.store(here, total, mask=inside)


SUM_LAUNCH = {"BR": 32, "BC": 64, "num_warps": 4, "num_stages": 3, "enable_fp_fusion": True}


@triton.jit(do_not_specialize=["steps_per_split", "scale", "decay"])
def symmetric_product_kernel(
    maps: tl.tensor,
    out: tl.tensor,
    examples: tl.tensor,
    positions: tl.tensor,
    D: tl.tensor,
    example_step: tl.tensor,
    group_step: tl.tensor,
    channel_step: tl.tensor,
    position_step: tl.tensor,
    steps_per_split: tl.tensor,
    scale: tl.tensor,
    decay: tl.tensor,
    FINAL: tl.constexpr,
    BD: tl.constexpr,
    BP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Sum one tile of the lower triangle over one split's pixels of ``maps``, ``[N, groups, D, positions]``.

    If this is final, ``out`` is ``[groups, D, D]`` and written by `store_mirrored`; else it is
    ``[splits, groups, D, D]``, and the lower triangle gets the sum.
    """
    tile_row, tile_column = lower_triangle(tl.program_id(0))
    group = tl.program_id(1)
    split = tl.program_id(2)
    rows = tile_row * BD + tl.arange(0, BD)
    columns = tile_column * BD + tl.arange(0, BD)
    channels = maps + group.to(tl.int64) * group_step
    left_channels = channels + rows.to(tl.int64) * channel_step  # [BD]
    right_channels = channels + columns.to(tl.int64) * channel_step  # [BD]

    total = tl.zeros((BD, BD), tl.float32)
    first = split * steps_per_split
    for step in range(first, min(first + steps_per_split, tl.cdiv(examples * positions, BP))):
        pixel = step * BP + tl.arange(0, BP)
        example = pixel // positions
        # Asked of the example, so that neighbours are known to have the same answer.
        valid = (example < examples)[None, :]
        offset = example.to(tl.int64) * example_step + pixel % positions * position_step  # [BP]
        left = tl.load(left_channels[:, None] + offset[None, :], mask=(rows < D)[:, None] & valid, other=0.0)
        right = tl.load(right_channels[:, None] + offset[None, :], mask=(columns < D)[:, None] & valid, other=0.0)
        total = tl.dot(left, tl.trans(right), total, input_precision=PRECISION)  # [BD, BD]

    matrix = out + (split * tl.num_programs(1) + group).to(tl.int64) * D * D
    if FINAL:
        store_mirrored(matrix, total, rows, columns, D, scale, decay)
    else:
        inside = (rows < D)[:, None] & (columns < D)[None, :]
        tl.store(matrix + (rows[:, None] * D + columns[None, :]), total, mask=inside)


def configuration(dtype: torch.dtype, dim: int) -> dict[str, Any]:
    """Choose the constants and options of the product's launch, whether it is final left open.

    Args:
        dtype: Element type of the operand.
        dim: Its D.

    Returns:
        Keyword arguments of the launch.
    """
    side = tile(dim, largest=SYMMETRIC_SIDE)
    return {"BD": side, "BP": 16 if dtype == torch.float32 else 32, **product_options(side, side, dtype)}


def ahead_of_time(dim: int, dtype: torch.dtype, *, channels_inner: bool) -> Ahead:
    """Describe the launches of `symmetric_product`, for `kfc_kernels.compile_ahead`.

    Args:
        dim: D.
        dtype: Element type of the operand.
        channels_inner: Whether channels lie side by side, or positions.

    Returns:
        Kernel, types of its arguments and its configuration: of the product, the final one last, and of the sum.
    """
    inner, outer = ("channel_step", "position_step") if channels_inner else ("position_step", "channel_step")
    numbers = ("examples", "positions", "D", "example_step", "group_step", outer, "steps_per_split")
    product = {"maps": POINTERS[dtype], "out": "*fp32", **dict.fromkeys(numbers, "i32")}
    product |= dict.fromkeys(("scale", "decay"), "fp32")
    sizes = dict.fromkeys(("parts", "channels", "kernel_elements", "D"), "i32")
    total = {"partial": "*fp32", "out": "*fp32", **sizes, "scale": "fp32", "decay": "fp32"}
    products: Ahead = [
        (symmetric_product_kernel, product, {inner: 1, "FINAL": final, **configuration(dtype, dim)})
        for final in (False, True)
    ]
    return [*products, (symmetric_sum_kernel, total, SUM_LAUNCH)]


def symmetric_product(maps: Tensor, out: Tensor, *, operator: str, scale: float, kept: float = 0.0) -> None:
    """Compute ``out <- kept * out + scale * sum_{n,t} x x^T``, in float32.

    Args:
        maps: The x, ``[N, groups, D, T]``, of any strides.
        out: ``[groups, D, D]``, float32 and contiguous; not read where ``kept`` is 0.
        operator: The operator that it is for, for errors.
        scale: Factor of the sum.
        kept: Factor of what was there.

    Raises:
        UnsupportedError: 32-bit indices cannot count the pixels or a matrix's elements.
    """
    examples, groups, dim, positions = maps.shape
    check_indices(operator, pixels=examples * positions, factor_elements=dim * dim)
    launch = configuration(maps.dtype, dim)
    side = triton.cdiv(dim, launch["BD"])
    tiles = side * (side + 1) // 2
    steps = triton.cdiv(examples * positions, launch["BP"])
    parts = splits(tiles * groups, triton.cdiv(steps, STEPS_PER_SPLIT), maps.device)
    final = parts == 1
    sums = out if final else torch.empty(parts, groups, dim, dim, dtype=torch.float32, device=maps.device)
    sizes = examples, positions, dim, *maps.stride(), triton.cdiv(steps, parts)
    with on_device_of(maps):
        symmetric_product_kernel[tiles, groups, parts](maps, sums, *sizes, scale, kept, FINAL=final, **launch)
    if not final:
        symmetric_sum(sums, out, channels=dim, kernel_elements=1, scale=scale, kept=kept)


def symmetric_sum(
    partial: Tensor, out: Tensor, *, channels: int, kernel_elements: int, scale: float, kept: float
) -> None:
    """Compute ``out <- kept * out + scale * sum over parts``, both triangles from the lower one.

    Args:
        partial: ``[parts, groups, D, D]``, in gathered order.
        out: ``[groups, D, D]`` or ``[D, D]``, float32 and contiguous, in the order of ``weight.flatten(1)``.
        channels: Input channels of a group.
        kernel_elements: Spatial offsets of the kernel.
        scale: Factor of the sum.
        kept: Factor of what was there.
    """
    parts, groups, dim, _ = partial.shape
    with on_device_of(partial):
        grid = triton.cdiv(dim, SUM_LAUNCH["BR"]), triton.cdiv(dim, SUM_LAUNCH["BC"]), groups
        symmetric_sum_kernel[grid](partial, out, parts, channels, kernel_elements, dim, scale, kept, **SUM_LAUNCH)
