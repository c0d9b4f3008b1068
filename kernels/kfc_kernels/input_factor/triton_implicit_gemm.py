"""The input factor as a symmetric product of patches that are gathered on the fly and never stored."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import store
from kfc_kernels.triton_gather import (
    channels_together,
    gather_patches,
    gatherable,
    gathered_element,
    view,
)
from kfc_kernels.triton_launch import (
    POINTERS,
    Ahead,
    check_indices,
    meta_input,
    on_device_of,
    product_options,
    splits,
    tile,
)

# Steps of the pixel sum below which splitting it further costs more than it gains.
STEPS_PER_SPLIT = 4

# Up to so many pixels the time goes into writing the factor, and a second pass over it would double that.
FEW_PIXELS = 256


@triton.jit
def lower_triangle(index: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Return row and column of the ``index``-th tile of a lower triangle, counted row by row."""
    row = ((tl.sqrt(8.0 * index + 1.0) - 1.0) * 0.5).to(tl.int32)
    row -= (row * (row + 1) // 2 > index).to(tl.int32)
    row += ((row + 1) * (row + 2) // 2 <= index).to(tl.int32)
    return row, index - row * (row + 1) // 2


@triton.jit(do_not_specialize=["pixels", "pixels_per_split", "scale", "decay"])
def input_factor_kernel(
    a: tl.tensor,
    out: tl.tensor,
    pixels: tl.tensor,
    pixels_per_split: tl.tensor,
    scale: tl.tensor,
    decay: tl.tensor,
    VIEW: tl.constexpr,
    FINAL: tl.constexpr,
    BD: tl.constexpr,
    BP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Sum one tile of the lower triangle over one split's pixels.

    If this is final, ``out`` is the factor, ``[groups, D, D]``, and ``decay * out + scale * sum`` is written, mirrored.
    Else it is ``[splits, groups, D, D]`` in gathered order, and the lower triangle gets the sum.
    """
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

    matrix = out + (split * tl.num_programs(1) + group).to(tl.int64) * (D * D)
    below = matrix + (rows[:, None] * D + columns[None, :])
    inside = (rows < D)[:, None] & (columns < D)[None, :]
    if FINAL:
        lower = inside & (rows[:, None] >= columns[None, :])
        total *= scale
        if decay > 0:
            total += decay * tl.load(below, mask=lower, other=0.0)
        tl.store(below, total, mask=lower)
        tl.store(matrix + (columns[None, :] * D + rows[:, None]), total, mask=lower)
    else:
        tl.store(below, total, mask=inside)


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
    """Write one tile of the factor, ``decay * out + scale * sum``; ``partial`` is what `input_factor_kernel` wrote."""
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


def is_final(geometry: ConvGeometry, pixels: int) -> bool:
    """Return whether products may be written as the factor: no element changes places, and few pixels need no split."""
    return geometry.kernel_elements == 1 and pixels <= FEW_PIXELS


def configuration(a: Tensor, geometry: ConvGeometry, *, final: bool) -> dict[str, Any]:
    """Choose the constants and options of the product's launch.

    Args:
        a: ``[N, C, *in]`` as `gatherable` returns it; only its layout and dtype are read.
        geometry: The layer, with zeros padding.
        final: Whether the launch writes the factor itself.

    Returns:
        Keyword arguments of the launch.
    """
    together = channels_together(a, geometry)
    # A small tile leaves registers to index arithmetic without wide loads, and to the average of what is final.
    small = final or not together
    side = tile(geometry.patch_dim, largest=64 if small else 128)
    options = product_options(side, side, a.dtype)
    if small and side == 64:
        options["num_warps"] = 8
    # A third stage would spill without wide loads, and where a bias's ones join float32 operands.
    if not together or (geometry.bias and options["PRECISION"] == "tf32"):
        options["num_stages"] = 2
    return {
        "VIEW": view(a, geometry),
        "FINAL": final,
        "BD": side,
        "BP": 16 if a.dtype == torch.float32 else 64 if together else 32,
        **options,
    }


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launches for a contiguous input, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the input.
        target: The architecture; all have the same launches.

    Returns:
        Kernel, types of its arguments and its configuration: of the product, the final one last, and of the sum.
    """
    a, geometry = gatherable(meta_input(geometry, dtype), geometry)
    counts = {"pixels": "i32", "pixels_per_split": "i32"}
    product = {"a": POINTERS[dtype], "out": "*fp32", **counts, "scale": "fp32", "decay": "fp32"}
    sizes = dict.fromkeys(("parts", "channels", "kernel_elements", "D"), "i32")
    total = {"partial": "*fp32", "out": "*fp32", **sizes, "scale": "fp32", "decay": "fp32"}
    kinds = (False, True) if is_final(geometry, pixels=1) else (False,)
    products: Ahead = [(input_factor_kernel, product, configuration(a, geometry, final=final)) for final in kinds]
    return [*products, (symmetric_sum_kernel, total, SUM_LAUNCH)]


def input_factor(a: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return Omega as `kfc_kernels.input_factor` does, reading each patch from the input, channels last."""
    a, geometry = gatherable(a, geometry)
    batch, groups, dim, pixels = a.shape[0], geometry.groups, geometry.patch_dim, a.shape[0] * geometry.positions
    final = is_final(geometry, pixels)
    launch = configuration(a, geometry, final=final)
    check_indices("input_factor", pixels=pixels, elements_of_an_example=a[0].numel(), factor_elements=dim * dim)
    side = triton.cdiv(dim, launch["BD"])
    tiles = side * (side + 1) // 2
    steps = triton.cdiv(pixels, launch["BP"])
    parts = 1 if final else splits(tiles * groups, triton.cdiv(steps, STEPS_PER_SPLIT), a.device)
    pixels_per_split = triton.cdiv(steps, parts) * launch["BP"]

    shape = geometry.grouped(dim, dim)
    writable = (
        out is not None
        and out.is_contiguous()
        and (out.shape, out.dtype, out.device) == (shape, torch.float32, a.device)
    )
    direct = out if writable else None
    factor = torch.empty(shape, dtype=torch.float32, device=a.device) if direct is None else direct
    kept = 0.0 if direct is None else decay or 0.0
    weighting = ((1 - kept) / batch, kept)
    with on_device_of(a):
        grid = tiles, groups, parts
        if final:
            input_factor_kernel[grid](a, factor, pixels, pixels_per_split, *weighting, **launch)
        else:
            partial = torch.empty(parts, groups, dim, dim, dtype=torch.float32, device=a.device)
            input_factor_kernel[grid](a, partial, pixels, pixels_per_split, *weighting, **launch)
            grid = triton.cdiv(dim, SUM_LAUNCH["BR"]), triton.cdiv(dim, SUM_LAUNCH["BC"]), groups
            sizes = geometry.in_channels // groups, geometry.kernel_elements, dim
            symmetric_sum_kernel[grid](partial, factor, parts, *sizes, *weighting, **SUM_LAUNCH)
    return store(factor, out, decay) if direct is None else direct
