"""The input factor as a symmetric product of patches that are gathered on the fly and never stored."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import accumulate
from kfc_kernels.tiles import tile
from kfc_kernels.triton_gather import (
    channels_together,
    gather_patches,
    gatherable,
    view,
)
from kfc_kernels.triton_launch import (
    POINTERS,
    STEPS_PER_SPLIT,
    Ahead,
    check_indices,
    meta_input,
    on_device_of,
    product_options,
    splits,
)
from kfc_kernels.triton_symmetric import (
    SUM_LAUNCH,
    lower_triangle,
    store_mirrored,
    symmetric_sum,
    symmetric_sum_kernel,
)

# Up to so many pixels the time goes into writing the factor, and a second pass over it would double that.
FEW_PIXELS = 256


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
    if FINAL:
        store_mirrored(matrix, total, rows, columns, D, scale, decay)
    else:
        inside = (rows < D)[:, None] & (columns < D)[None, :]
        tl.store(matrix + (rows[:, None] * D + columns[None, :]), total, mask=inside)


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

    def write(factor: Tensor, kept: float) -> None:
        scale, grid = (1 - kept) / batch, (tiles, groups, parts)
        with on_device_of(a):
            if final:
                input_factor_kernel[grid](a, factor, pixels, pixels_per_split, scale, kept, **launch)
            else:
                partial = torch.empty(parts, groups, dim, dim, dtype=torch.float32, device=a.device)
                input_factor_kernel[grid](a, partial, pixels, pixels_per_split, scale, kept, **launch)
                sizes = {"channels": geometry.in_channels // groups, "kernel_elements": geometry.kernel_elements}
                symmetric_sum(partial, factor, **sizes, scale=scale, kept=kept)

    return accumulate(write, geometry.grouped(dim, dim), a.device, out, decay)
