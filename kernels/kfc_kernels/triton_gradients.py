"""Per-example gradients of a layer in Triton: a tile at a time in registers, or of a few examples in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.tiles import CHUNK_BYTES, GRADIENT_COLUMNS, GRADIENT_ROWS, NARROW_SIDE, tile
from kfc_kernels.triton_gather import channels_together, gather_patches, gatherable, on_two_axes, view, weight_element
from kfc_kernels.triton_launch import (
    LARGEST_GRID,
    POINTERS,
    Ahead,
    alike,
    check_indices,
    exact,
    meta_input,
    on_device_of,
    product_options,
)


@triton.jit
def gradient_tile(
    a: tl.tensor,
    g: tl.tensor,
    index: tl.tensor,
    examples: tl.tensor,
    vector_step: tl.tensor,
    example_step: tl.tensor,
    group: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    VIEW: tl.constexpr,
    K: tl.constexpr,
    G_STEPS: tl.constexpr,
    BP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Form a tile of one example's weight gradient (Eq. 28); zero outside of it.

    Args:
        a: Pointer to the input.
        g: Pointer to the backpropagated vectors, ``[V, N, groups * K, *out]``.
        index: Which gradient of V*N, that of the first vector's examples first.
        examples: N.
        vector_step: Elements of ``g`` from one vector to the next.
        example_step: Elements from one example to the next.
        group: The group.
        rows: Its output channels, ``[BK]``.
        columns: Patch elements, ``[BD]``, in gathered order.
        VIEW: The layer.
        K: Output channels of a group.
        G_STEPS: Elements of ``g`` from one channel, row and column to the next.
        BP: Positions that are loaded together.
        PRECISION: Of products.

    Returns:
        ``[BK, BD]``.
    """
    example = index % examples
    signal = g + (index // examples).to(tl.int64) * vector_step + example.to(tl.int64) * example_step
    signal += (group * K + rows).to(tl.int64) * G_STEPS[0]  # [BK]
    gradient = tl.zeros((rows.shape[0], columns.shape[0]), tl.float32)
    for start in range(0, VIEW.positions, BP):
        position = start + tl.arange(0, BP)
        valid = position < VIEW.positions
        pixel = position // VIEW.out_width * G_STEPS[1] + position % VIEW.out_width * G_STEPS[2]  # [BP]
        left = tl.load(signal[:, None] + pixel[None, :], mask=(rows < K)[:, None] & valid[None, :], other=0.0)
        right = gather_patches(a, group, columns, example, position, valid, VIEW)  # [BD, BP]
        gradient = tl.dot(left, tl.trans(right), gradient, input_precision=PRECISION)  # [BK, BD]
    return gradient


@triton.jit(do_not_specialize=["first", "examples"])
def example_gradients_kernel(
    a: tl.tensor,
    g: tl.tensor,
    out: tl.tensor,
    first: tl.tensor,
    examples: tl.tensor,
    vector_step: tl.tensor,
    example_step: tl.tensor,
    VIEW: tl.constexpr,
    K: tl.constexpr,
    G_STEPS: tl.constexpr,
    BK: tl.constexpr,
    BD: tl.constexpr,
    BP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Write one tile of one gradient, counted from ``first``; ``out`` is ``[gradients, groups, K/groups, D]``."""
    D: tl.constexpr = VIEW.weights + VIEW.bias
    column_tiles: tl.constexpr = (D + BD - 1) // BD
    group = tl.program_id(1)
    rows = tl.program_id(0) // column_tiles * BK + tl.arange(0, BK)
    columns = tl.program_id(0) % column_tiles * BD + tl.arange(0, BD)
    index = tl.program_id(2)
    gradient = gradient_tile(
        a, g, first + index, examples, vector_step, example_step, group, rows, columns, VIEW, K, G_STEPS, BP, PRECISION
    )
    matrix = out + (index * tl.num_programs(1) + group).to(tl.int64) * (K * D)
    inside = (rows < K)[:, None] & (columns < D)[None, :]
    weights = weight_element(columns, VIEW.channels, VIEW.kernel_elements)
    tl.store(matrix + (rows[:, None] * D + weights[None, :]), gradient, mask=inside)


def configuration(a: Tensor, g: Tensor, geometry: ConvGeometry) -> dict[str, Any]:
    """Choose the constants and options of a launch that forms gradient tiles.

    Args:
        a: ``[N, C, *in]``; only its layout and dtype are read.
        g: ``[V, N, K, *out]``, likewise.
        geometry: The layer, with zeros padding.

    Returns:
        Keyword arguments of the launch.
    """
    narrow = exact(a.dtype) and not channels_together(a, geometry)
    rows = tile(geometry.group_outputs, largest=NARROW_SIDE if narrow else GRADIENT_ROWS)
    columns = tile(geometry.patch_dim, largest=NARROW_SIDE if narrow else GRADIENT_COLUMNS)
    return {
        "VIEW": view(a, geometry),
        "K": geometry.group_outputs,
        "G_STEPS": on_two_axes(g, geometry.axes).stride()[2:],
        "BK": rows,
        "BD": columns,
        "BP": tile(geometry.positions, largest=16 if a.dtype == torch.float32 else 32),
        **product_options(rows, columns, a.dtype),
        # Two tiles of sums fill the registers: a third stage would spill.
        "num_stages": 2,
    }


def described(a: Tensor, geometry: ConvGeometry) -> tuple[dict[str, str], dict[str, Any]]:
    """Describe a launch that forms gradient tiles from contiguous signals.

    Args:
        a: An input ``[1, C, *in]`` without data.
        geometry: The layer.

    Returns:
        Types of the arguments that launches share, and the `configuration`.
    """
    a, geometry = gatherable(a, geometry)
    g = torch.empty(1, 1, geometry.out_channels, *geometry.out_size, dtype=a.dtype, device="meta")
    types = {"a": POINTERS[a.dtype], "g": POINTERS[a.dtype], "out": "*fp32"}
    types |= dict.fromkeys(("examples", "vector_step", "example_step"), "i32")
    return types, configuration(a, g, geometry)


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype) -> Ahead:
    """Describe the launch of `gradient_chunks`, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the operands.

    Returns:
        The kernel, the types of its arguments and its configuration, in a list of one.
    """
    types, launch = described(meta_input(geometry, dtype), geometry)
    return [(example_gradients_kernel, types | {"first": "i32"}, launch)]


def gradient_chunks(a: Tensor, g: Tensor, geometry: ConvGeometry, *, operator: str) -> Iterator[Tensor]:
    """Form per-example gradients, as many at once as `CHUNK_BYTES` hold; operands of unlike dtypes meet in float32.

    Args:
        a: ``[N, C, *in]``.
        g: ``[V, N, K, *out]``, gradients of each example's own loss.
        geometry: The layer.
        operator: The operator that they are for, for errors.

    Yields:
        ``[gradients, groups, K/groups, D]`` in float32, over all vectors and examples in the end; memory that the
        next one overwrites.

    Raises:
        UnsupportedError: 32-bit indices cannot count an operand's or a gradient's elements.
    """
    a, g = alike(a, g)
    a, geometry = gatherable(a, geometry)
    launch = configuration(a, g, geometry)
    gradients, rows, columns = g.shape[0] * a.shape[0], geometry.group_outputs, geometry.patch_dim
    check_indices(operator, elements_of_an_example=max(a[0].numel(), g[0, 0].numel()), gradient=rows * columns)
    tiles = triton.cdiv(rows, launch["BK"]) * triton.cdiv(columns, launch["BD"])
    most = min(gradients, max(1, CHUNK_BYTES // (4 * geometry.groups * rows * columns)), LARGEST_GRID)
    chunk = torch.empty(most, geometry.groups, rows, columns, dtype=torch.float32, device=a.device)
    for first in range(0, gradients, most):
        count = min(most, gradients - first)
        with on_device_of(a):
            example_gradients_kernel[tiles, geometry.groups, count](
                a, g, chunk, first, a.shape[0], *g.stride()[:2], **launch
            )
        yield chunk[:count]
