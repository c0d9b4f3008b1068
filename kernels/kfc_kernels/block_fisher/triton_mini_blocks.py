"""One block per kernel, its gradient's outer products with itself summed in registers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels import triton_gradients
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import store
from kfc_kernels.tiles import SMALLEST_TILE, mini_block_outputs, tile
from kfc_kernels.triton_gather import gatherable
from kfc_kernels.triton_gradients import gradient_tile
from kfc_kernels.triton_launch import (
    Ahead,
    alike,
    check_indices,
    meta_input,
    on_device_of,
    product_options,
    splits,
    summed,
)
from kfc_kernels.triton_symmetric import lower_triangle


@triton.jit(do_not_specialize=["examples", "gradients", "gradients_per_split", "scale"])
def mini_blocks_kernel(
    a: tl.tensor,
    g: tl.tensor,
    out: tl.tensor,
    examples: tl.tensor,
    gradients: tl.tensor,
    gradients_per_split: tl.tensor,
    vector_step: tl.tensor,
    example_step: tl.tensor,
    scale: tl.tensor,
    VIEW: tl.constexpr,
    K: tl.constexpr,
    G_STEPS: tl.constexpr,
    BK: tl.constexpr,
    BE: tl.constexpr,
    BP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Sum tiles of some outputs' blocks of one channel; ``out`` is ``[splits, groups, K/groups, C/groups, e, e]``.

    A program has two tiles of kernel elements, and writes their products and the mirror image.
    """
    ELEMENTS: tl.constexpr = VIEW.kernel_elements
    tile_row, tile_column = lower_triangle(tl.program_id(0) // VIEW.channels)
    channel = tl.program_id(0) % VIEW.channels
    output_tiles: tl.constexpr = (K + BK - 1) // BK
    group = tl.program_id(1) // output_tiles
    groups = tl.num_programs(1) // output_tiles
    split = tl.program_id(2)
    rows = tl.program_id(1) % output_tiles * BK + tl.arange(0, BK)
    left = tile_row * BE + tl.arange(0, BE)
    right = tile_column * BE + tl.arange(0, BE)

    total = tl.zeros((BK, BE, BE), tl.float32)
    first = split * gradients_per_split
    for index in range(first, min(first + gradients_per_split, gradients)):
        one = gradient_tile(
            a,
            g,
            index,
            examples,
            vector_step,
            example_step,
            group,
            rows,
            left * VIEW.channels + channel,
            VIEW,
            K,
            G_STEPS,
            BP,
            PRECISION,
        )  # [BK, BE]
        if ELEMENTS <= BE:
            total += one[:, :, None] * one[:, None, :]
        else:
            other = gradient_tile(
                a,
                g,
                index,
                examples,
                vector_step,
                example_step,
                group,
                rows,
                right * VIEW.channels + channel,
                VIEW,
                K,
                G_STEPS,
                BP,
                PRECISION,
            )  # [BK, BE]
            total += one[:, :, None] * other[:, None, :]
    total *= scale

    blocks = out + (split * groups + group).to(tl.int64) * (K * VIEW.channels * ELEMENTS * ELEMENTS)
    block = blocks + ((rows * VIEW.channels + channel) * (ELEMENTS * ELEMENTS))[:, None, None]
    i = left[None, :, None]
    j = right[None, None, :]
    inside = (rows < K)[:, None, None] & (i < ELEMENTS) & (j < ELEMENTS)
    tl.store(block + (i * ELEMENTS + j), total, mask=inside)
    if tile_row != tile_column:
        tl.store(block + (j * ELEMENTS + i), total, mask=inside)


def configuration(launch: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Choose the constants and options of the launch.

    Args:
        launch: Those of `kfc_kernels.triton_gradients` for the layer.
        dtype: Element type of the operands.

    Returns:
        Keyword arguments of the launch.
    """
    rows = tile(launch["K"], largest=mini_block_outputs(launch["VIEW"].kernel_elements))
    return {
        **{name: value for name, value in launch.items() if name != "BD"},
        **product_options(rows, SMALLEST_TILE**2, dtype),
        "BK": rows,
        "BE": SMALLEST_TILE,
        "num_stages": 2,
    }


def without_bias(geometry: ConvGeometry) -> ConvGeometry:
    """Return the layer without its biases, which belong to no kernel."""
    return replace(geometry, bias=False)


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launch for contiguous operands, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the operands.
        target: The architecture; all have the same launches.

    Returns:
        The kernel, the types of its arguments, and its `configuration`, in a list of one.
    """
    types, launch = triton_gradients.described(meta_input(geometry, dtype), without_bias(geometry))
    types |= {"gradients": "i32", "gradients_per_split": "i32", "scale": "fp32"}
    return [(mini_blocks_kernel, types, configuration(launch, dtype))]


def mini_block_fisher(
    a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None
) -> Tensor:
    """Return the mini-blocks of kernels as `kfc_kernels.block_fisher.mini_block_fisher` does."""
    a, g = alike(a, g)
    a, layer = gatherable(a, without_bias(geometry))
    launch = configuration(triton_gradients.configuration(a, g, layer), a.dtype)
    batch, gradients = a.shape[0], g.shape[0] * a.shape[0]
    groups, outputs, elements = layer.groups, layer.group_outputs, layer.kernel_elements
    channels = layer.in_channels // groups
    check_indices(
        "mini_block_fisher",
        gradients=gradients,
        elements_of_an_example=max(a[0].numel(), g[0, 0].numel()),
        elements_of_the_blocks=outputs * channels * elements**2,
    )
    side = triton.cdiv(elements, launch["BE"])
    tiles = side * (side + 1) // 2 * channels
    of_outputs = groups * triton.cdiv(outputs, launch["BK"])
    parts = splits(tiles * of_outputs, gradients, a.device)
    per_split = triton.cdiv(gradients, parts)
    partial = torch.empty(parts, groups, outputs, channels, elements, elements, dtype=torch.float32, device=a.device)
    with on_device_of(a):
        mini_blocks_kernel[tiles, of_outputs, parts](
            a, g, partial, batch, gradients, per_split, *g.stride()[:2], 1 / batch, **launch
        )
    blocks = summed(partial)
    return store(blocks.reshape(geometry.grouped(*blocks.shape[1:])), out, decay)
