"""The input factor from sums at lags, in two launches: all sums over boxes of pixels, then the factor from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor.autocovariance import first_moments
from kfc_kernels.input_factor.lag_plan import plan
from kfc_kernels.input_factor.phases import elements_of, split_phases, stride_one_geometry
from kfc_kernels.input_factor.windows import axes_of
from kfc_kernels.input_factor.work import LAGS_TOGETHER
from kfc_kernels.patches import with_zeros_padding
from kfc_kernels.results import store
from kfc_kernels.tiles import tile
from kfc_kernels.triton_launch import (
    POINTERS,
    Ahead,
    architecture,
    check_indices,
    exact,
    meta_input,
    on_device_of,
    product_options,
    splits,
)

# Steps of a pixel sum below which splitting it further costs more than it gains.
STEPS_PER_SPLIT = 8

ELEMENTS_OF_A_BLOCK = 1024


@dataclass(frozen=True)
class Map:
    """A layer's input as the kernel sees it, ``[N, height, width, channels]`` with a pixel's channels together.

    Attributes:
        height: Rows.
        width: Columns.
        channels: Channels of a group.
        group_pitch: Elements from one group's channels to the next's.
        pitch: Elements from one pixel to the next.
        lag_columns: Lags of a row, ``2*kernel_width - 1``.
        most_left: Kernel columns less one.
        dilation_y: Rows from one lag to the next.
        dilation_x: Columns from one lag to the next.
    """

    height: int
    width: int
    channels: int
    group_pitch: int
    pitch: int
    lag_columns: int
    most_left: int
    dilation_y: int
    dilation_x: int


@triton.jit
def pixels_of(
    a: tl.tensor,
    examples: tl.tensor,
    MAP: tl.constexpr,
    BN: tl.constexpr,
    BY: tl.constexpr,
    BX: tl.constexpr,
    BC: tl.constexpr,
) -> tl.tensor_descriptor:
    """Describe the map in blocks of examples, rows, columns and channels; what lies outside of it is zero."""
    return tl.make_tensor_descriptor(
        a,
        shape=[examples, MAP.height, MAP.width, MAP.pitch],
        strides=[MAP.height * MAP.width * MAP.pitch, MAP.width * MAP.pitch, MAP.pitch, 1],
        block_shape=[BN, BY, BX, BC],
    )


@triton.jit
def load_pixels(
    maps: tl.tensor,
    example: tl.tensor,
    y: tl.tensor,
    x: tl.tensor,
    channel: tl.tensor,
    BP: tl.constexpr,
    BC: tl.constexpr,
) -> tl.tensor:
    """Read a tile of pixels by channels, ``[BP, BC]``; zero outside the map."""
    return tl.reshape(maps.load([example, y, x, channel]), (BP, BC))


@triton.jit
def lag_of(number: tl.tensor, MAP: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Return the rows and columns from a pair's first pixel to its second, at the ``number``-th lag."""
    row = (number + MAP.most_left) // MAP.lag_columns
    return row * MAP.dilation_y, (number - row * MAP.lag_columns) * MAP.dilation_x


@triton.jit(do_not_specialize=["examples", "slots"])
def lag_sums_kernel(
    a: tl.tensor,
    items: tl.tensor,
    sums: tl.tensor,
    examples: tl.tensor,
    slots: tl.tensor,
    MAP: tl.constexpr,
    GROUPS: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
    BN: tl.constexpr,
    BY: tl.constexpr,
    BX: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Sum products of pairs of pixels at four lags over a split of a box, into ``[splits, slots, groups, C, C]``."""
    BP: tl.constexpr = BN * BY * BX
    item = items + tl.program_id(0) * 8
    top, bottom, left_end, right_end = tl.load(item), tl.load(item + 1), tl.load(item + 2), tl.load(item + 3)
    lag, step, count, slot = tl.load(item + 4), tl.load(item + 5), tl.load(item + 6), tl.load(item + 7)
    tiles_m: tl.constexpr = (MAP.channels + BM - 1) // BM
    tiles_c: tl.constexpr = (MAP.channels + BC - 1) // BC
    group = tl.program_id(1) // (tiles_m * tiles_c)
    first_m = tl.program_id(1) // tiles_c % tiles_m * BM
    first_c = tl.program_id(1) % tiles_c * BC
    channel_m = group * MAP.group_pitch + first_m
    channel_c = group * MAP.group_pitch + first_c

    firsts = pixels_of(a, examples, MAP, BN, BY, BX, BM)
    seconds = pixels_of(a, examples, MAP, BN, BY, BX, BC)
    y0, x0 = lag_of(lag, MAP)
    y1, x1 = lag_of(lag + step, MAP)
    y2, x2 = lag_of(lag + 2 * step, MAP)
    y3, x3 = lag_of(lag + 3 * step, MAP)

    total0 = tl.zeros((BM, BC), tl.float32)
    total1 = tl.zeros((BM, BC), tl.float32)
    total2 = tl.zeros((BM, BC), tl.float32)
    total3 = tl.zeros((BM, BC), tl.float32)
    across = tl.cdiv(right_end - left_end, BX)
    down = tl.cdiv(bottom - top, BY)
    pieces = tl.cdiv(examples, BN) * down * across
    share = tl.cdiv(pieces, tl.num_programs(2))
    begin = tl.program_id(2) * share
    pixel = tl.arange(0, BP)
    for piece in range(begin, min(begin + share, pieces)):
        example = piece // (down * across) * BN
        y = top + piece // across % down * BY
        x = left_end + piece % across * BX
        inside = (y + pixel // BX % BY < bottom) & (x + pixel % BX < right_end)  # [BP]
        first = load_pixels(firsts, example, y, x, channel_m, BP, BM)
        first = tl.trans(tl.where(inside[:, None], first, 0.0).to(first.dtype))  # [BM, BP]
        second = load_pixels(seconds, example, y + y0, x + x0, channel_c, BP, BC)
        total0 = tl.dot(first, second, total0, input_precision=PRECISION)
        second = load_pixels(seconds, example, y + y1, x + x1, channel_c, BP, BC)
        total1 = tl.dot(first, second, total1, input_precision=PRECISION)
        second = load_pixels(seconds, example, y + y2, x + x2, channel_c, BP, BC)
        total2 = tl.dot(first, second, total2, input_precision=PRECISION)
        second = load_pixels(seconds, example, y + y3, x + x3, channel_c, BP, BC)
        total3 = tl.dot(first, second, total3, input_precision=PRECISION)

    row = first_m + tl.arange(0, BM)
    column = first_c + tl.arange(0, BC)
    size: tl.constexpr = MAP.channels * MAP.channels
    start = sums + ((tl.program_id(2) * slots + slot) * GROUPS + group).to(tl.int64) * size
    where = start + row[:, None] * MAP.channels + column[None, :]
    exists = (row < MAP.channels)[:, None] & (column < MAP.channels)[None, :]
    tl.store(where, total0, mask=exists & (count > 0))
    tl.store(where + GROUPS * size, total1, mask=exists & (count > 1))
    tl.store(where + 2 * GROUPS * size, total2, mask=exists & (count > 2))
    tl.store(where + 3 * GROUPS * size, total3, mask=exists & (count > 3))


@triton.jit(do_not_specialize=["slots", "parts", "scale", "decay"])
def factor_kernel(
    sums: tl.tensor,
    terms: tl.tensor,
    moments: tl.tensor,
    out: tl.tensor,
    slots: tl.tensor,
    parts: tl.tensor,
    scale: tl.tensor,
    decay: tl.tensor,
    positions: tl.tensor,
    CHANNELS: tl.constexpr,
    ELEMENTS: tl.constexpr,
    TERMS: tl.constexpr,
    GROUPS: tl.constexpr,
    BIAS: tl.constexpr,
    AVERAGES: tl.constexpr,
    BE: tl.constexpr,
) -> None:
    """Write a part of one row of the factor, ``[groups, D, D]``: each entry from the sums that make up its window."""
    SIZE: tl.constexpr = CHANNELS * ELEMENTS
    D: tl.constexpr = SIZE + BIAS
    row = tl.program_id(0)
    group = tl.program_id(2)
    column = tl.program_id(1) * BE + tl.arange(0, BE)
    channel, element = row // ELEMENTS, row % ELEMENTS
    other_channel, other_element = column // ELEMENTS, column % ELEMENTS
    weights = (row < SIZE) & (column < SIZE)

    # Of the two entries that mirror each other both read the same sums.
    swapped = (element > other_element) | ((element == other_element) & (channel < other_channel))
    from_channel = tl.where(swapped, other_channel, channel)
    to_channel = tl.where(swapped, channel, other_channel)
    value = tl.zeros((BE,), tl.float32)
    for place in range(TERMS):
        term = tl.load(terms + (element * ELEMENTS + other_element) * TERMS + place, mask=weights, other=0)
        slot = tl.abs(term) - 1
        where = (slot.to(tl.int64) * GROUPS + group) * (CHANNELS * CHANNELS) + from_channel * CHANNELS + to_channel
        for part in range(parts):
            offset = part * slots.to(tl.int64) * (GROUPS * CHANNELS * CHANNELS)
            found = tl.load(sums + offset + where, mask=weights & (term != 0), other=0.0)
            value += tl.where(term > 0, found, -found)
    value *= scale
    if BIAS:
        outer = tl.where(row == SIZE, column, row)
        moment = tl.load(moments + group * SIZE + outer, mask=(outer < SIZE) & ~weights, other=0.0) * scale
        value = tl.where(weights, value, tl.where((row == SIZE) & (column == SIZE), positions, moment))
    where_out = out + group.to(tl.int64) * (D * D) + row.to(tl.int64) * D + column
    if AVERAGES:
        value = decay * tl.load(where_out, mask=column < D, other=0.0) + (1 - decay) * value
    tl.store(where_out, value, mask=column < D)


def on_two_axes(geometry: ConvGeometry) -> ConvGeometry:
    """Describe a layer of up to two axes as one of two, the missing ones of size 1 before the others."""
    missing = 2 - geometry.axes
    ones = (1,) * missing
    return replace(
        geometry,
        in_size=ones + geometry.in_size,
        kernel=ones + geometry.kernel,
        stride=ones + geometry.stride,
        padding=((0, 0),) * missing + geometry.padding,
        dilation=ones + geometry.dilation,
    )


def group_pitch(geometry: ConvGeometry, dtype: torch.dtype) -> int:
    """Return the least multiple of 16 bytes that holds a group's channels, in elements."""
    channels = geometry.in_channels // geometry.groups
    return math.ceil(channels * dtype.itemsize / 16) * 16 // dtype.itemsize


def channels_last(a: Tensor, geometry: ConvGeometry) -> Tensor:
    """Lay an input out for tensor descriptors: a pixel's channels together, each group's at a multiple of 16 bytes.

    Args:
        a: ``[N, C, height, width]``.
        geometry: The layer.

    Returns:
        ``[N, height, width, groups, group pitch]`` contiguous; a view where ``a`` lies so.
    """
    last = a.movedim(1, -1).unflatten(-1, (geometry.groups, -1))
    pitch, channels = group_pitch(geometry, a.dtype), last.shape[-1]
    if pitch == channels:
        return last.contiguous()
    padded = a.new_zeros(*last.shape[:-1], pitch)
    padded[..., :channels] = last
    return padded


def pixel_block(examples: int, height: int, width: int, pixels: int) -> tuple[int, int, int]:
    """Choose the block of examples, rows and columns that covers a batch with the fewest pixels to spare."""
    powers = [2**power for power in range(pixels.bit_length())]
    blocks = [(pixels // (y * x), y, x) for y in powers for x in powers if y * x <= pixels]

    def covered(block: tuple[int, int, int]) -> int:
        return math.prod(math.ceil(n / b) * b for n, b in zip((examples, height, width), block, strict=True))

    return min(blocks, key=lambda block: (covered(block), -block[2], -block[1]))


def configuration(dtype: torch.dtype, geometry: ConvGeometry, batch: int, target: str) -> dict[str, Any]:
    """Choose the constants and options of the launch that sums.

    Args:
        dtype: Element type of the input.
        geometry: The layer, on two axes, with zeros padding.
        batch: Examples N.
        target: The architecture, by its name in `kfc_kernels.compile_ahead.TARGETS`.

    Returns:
        Keyword arguments of the launch.
    """
    channels = geometry.in_channels // geometry.groups
    # Where no hardware copies blocks, each thread keeps their addresses in registers, and shared memory is smaller.
    copies = target in ("sm_90", "sm_100")
    rows = tile(channels, largest=32 if exact(dtype) else 128 if copies else 64)
    columns = tile(channels, largest=32 if exact(dtype) or not copies else 64)
    pixels = 16 if exact(dtype) else (128 if copies else 64) // dtype.itemsize
    options = product_options(rows, columns * LAGS_TOGETHER, dtype)
    if target == "sm_100" and not exact(dtype):
        # There, sums lie in tensor memory, not in the threads' registers.
        options["num_warps"] = 4
    height, width = geometry.in_size
    examples, block_y, block_x = pixel_block(batch, height, width, pixels)
    pitch = group_pitch(geometry, dtype)
    return {
        "MAP": Map(
            height=height,
            width=width,
            channels=channels,
            group_pitch=pitch,
            pitch=pitch * geometry.groups,
            lag_columns=2 * geometry.kernel[1] - 1,
            most_left=geometry.kernel[1] - 1,
            dilation_y=geometry.dilation[0],
            dilation_x=geometry.dilation[1],
        ),
        "GROUPS": geometry.groups,
        "BM": rows,
        "BC": columns,
        "BN": examples,
        "BY": block_y,
        "BX": block_x,
        **options,
    }


def writing(geometry: ConvGeometry, terms: int, *, averages: bool) -> dict[str, Any]:
    """Choose the constants and options of the launch that writes the factor."""
    return {
        "CHANNELS": geometry.in_channels // geometry.groups,
        "ELEMENTS": geometry.kernel_elements,
        "TERMS": terms,
        "GROUPS": geometry.groups,
        "BIAS": geometry.bias,
        "AVERAGES": averages,
        "BE": ELEMENTS_OF_A_BLOCK,
        "num_warps": 4,
        "num_stages": 2,
        "enable_fp_fusion": True,
    }


@lru_cache(maxsize=256)
def tables(geometry: ConvGeometry, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """Lay a layer's plan out for the kernels.

    Args:
        geometry: The layer, on two axes, with zeros padding.
        device: Where they run.

    Returns:
        Items ``[items, 8]`` and terms ``[kernel elements ** 2, terms]`` as int32, and how many sums there are.
    """
    planned = plan(axes_of(geometry), LAGS_TOGETHER)
    items = [
        [*(end for span in item.box for end in span), item.lag, item.step, len(item.slots), item.slots[0]]
        for item in planned.items
    ]
    most = max(map(len, planned.terms))
    terms = [[*block, *[0] * (most - len(block))] for block in planned.terms]
    return (
        torch.tensor(items, dtype=torch.int32, device=device),
        torch.tensor(terms, dtype=torch.int32, device=device),
        planned.slots,
    )


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:
    """Describe both launches, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the input.
        target: The architecture.

    Returns:
        Of each, the kernel, the types of its arguments, and its constants and options.
    """
    _, padded = with_zeros_padding(meta_input(geometry, dtype), geometry)
    layer = on_two_axes(stride_one_geometry(padded))
    _, terms, _ = tables(layer, torch.device("cpu"))
    numbers = dict.fromkeys(("examples", "slots"), "i32")
    summing = {"a": POINTERS[dtype], "items": "*i32", "sums": "*fp32", **numbers}
    written = {
        **dict.fromkeys(("sums", "moments", "out"), "*fp32"),
        "terms": "*i32",
        **dict.fromkeys(("slots", "parts", "positions"), "i32"),
        **dict.fromkeys(("scale", "decay"), "fp32"),
    }
    return [
        (lag_sums_kernel, summing, configuration(dtype, layer, 32, target)),
        (factor_kernel, written, writing(layer, terms.shape[1], averages=True)),
    ]


def _workspace(size: int, alignment: int, stream: int | None) -> Tensor:  # noqa: ARG001
    return torch.empty(size, dtype=torch.int8, device="cuda")


def unstrided_factor(a: Tensor, layer: ConvGeometry, out: Tensor | None = None, decay: float | None = None) -> Tensor:
    """Compute the factor of a stride-1 layer on two axes.

    Args:
        a: ``[N, C, height, width]``.
        layer: The layer, with zeros padding or none.
        out: Where to write, float32 and contiguous; a fresh tensor if None.
        decay: e of the running average in ``out``; None overwrites it.

    Returns:
        ``[groups, D, D]``, ``out`` itself where it was given.
    """
    batch, groups, dim = a.shape[0], layer.groups, layer.patch_dim
    channels = layer.in_channels // groups
    maps = channels_last(a, layer)
    check_indices("input_factor", pixels=maps[..., 0, 0].numel(), factor_elements=dim * dim)
    items, terms, slots = tables(layer, a.device)
    launch = configuration(a.dtype, layer, batch, architecture(a.device))
    tiles = groups * triton.cdiv(channels, launch["BM"]) * triton.cdiv(channels, launch["BC"])
    blocks = zip((batch, *layer.in_size), (launch["BN"], launch["BY"], launch["BX"]), strict=True)
    steps = math.prod(triton.cdiv(size, block) for size, block in blocks)
    parts = splits(tiles * len(items), triton.cdiv(steps, STEPS_PER_SPLIT), a.device)
    sums = torch.empty(parts, slots, groups, channels, channels, dtype=torch.float32, device=a.device)
    moments = sums
    if layer.bias:
        moments = first_moments(maps[..., :channels].sum(0, dtype=torch.float32), axes_of(layer))
    omega = torch.empty(groups, dim, dim, dtype=torch.float32, device=a.device) if out is None else out
    written = writing(layer, terms.shape[1], averages=bool(decay))
    numbers = slots, parts, 1 / batch, decay or 0.0, layer.positions
    with on_device_of(a):
        if a.is_cuda:
            triton.set_allocator(_workspace)
        lag_sums_kernel[len(items), tiles, parts](maps, items, sums, batch, slots, **launch)
        factor_kernel[dim, triton.cdiv(dim, ELEMENTS_OF_A_BLOCK), groups](
            sums, terms, moments, omega, *numbers, **written
        )
    return omega


def input_factor(a: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return Omega as `kfc_kernels.input_factor` does, from sums at half of the lags."""
    a, padded = with_zeros_padding(a, geometry)
    flat = stride_one_geometry(padded)
    layer = on_two_axes(flat)
    maps = split_phases(a, padded).reshape(a.shape[0], layer.in_channels, *layer.in_size)
    shape = geometry.grouped(geometry.patch_dim, geometry.patch_dim)
    fits = out is not None and out.shape == shape and out.dtype == torch.float32 and out.is_contiguous()
    if out is not None and fits and flat is padded:
        unstrided_factor(maps, layer, out, decay)
        return out
    omega = unstrided_factor(maps, layer)
    if flat is not padded:
        wanted = elements_of(padded, a.device)
        omega = omega[:, wanted[:, None], wanted]
    return store(omega.reshape(shape), out, decay)
