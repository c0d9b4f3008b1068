"""The diagonal Fisher of a layer with one output position: the product of squared signals and squared inputs."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import store
from kfc_kernels.tiles import tile
from kfc_kernels.triton_gather import gather_patches, gatherable, view, weight_element
from kfc_kernels.triton_launch import (
    POINTERS,
    STEPS_PER_SPLIT,
    Ahead,
    alike,
    check_indices,
    meta_input,
    on_device_of,
    product_options,
    splits,
    summed,
)


@triton.jit(do_not_specialize=["examples", "gradients", "steps_per_split", "scale"])
def squares_kernel(
    a: tl.tensor,
    g: tl.tensor,
    out: tl.tensor,
    examples: tl.tensor,
    gradients: tl.tensor,
    steps_per_split: tl.tensor,
    vector_step: tl.tensor,
    example_step: tl.tensor,
    scale: tl.tensor,
    VIEW: tl.constexpr,
    K: tl.constexpr,
    CHANNEL_STEP: tl.constexpr,
    BK: tl.constexpr,
    BD: tl.constexpr,
    BN: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Sum one tile over one split of V*N; ``out`` is ``[splits, groups, K/groups, D]``. Squares are float32."""
    D: tl.constexpr = VIEW.weights + VIEW.bias
    column_tiles: tl.constexpr = (D + BD - 1) // BD
    group = tl.program_id(1)
    split = tl.program_id(2)
    rows = tl.program_id(0) // column_tiles * BK + tl.arange(0, BK)
    columns = tl.program_id(0) % column_tiles * BD + tl.arange(0, BD)
    signals = g + (group * K + rows).to(tl.int64) * CHANNEL_STEP  # [BK]

    total = tl.zeros((BK, BD), tl.float32)
    first = split * steps_per_split
    for step in range(first, min(first + steps_per_split, tl.cdiv(gradients, BN))):
        index = step * BN + tl.arange(0, BN)
        example = index % examples
        offset = (index // examples).to(tl.int64) * vector_step + example.to(tl.int64) * example_step  # [BN]
        valid = index < gradients
        left = tl.load(signals[:, None] + offset[None, :], mask=(rows < K)[:, None] & valid[None, :], other=0.0)
        right = gather_patches(a, group, columns, example, tl.zeros_like(index), valid, VIEW)  # [BD, BN]
        left = left.to(tl.float32)
        right = right.to(tl.float32)
        total = tl.dot(left * left, tl.trans(right * right), total, input_precision=PRECISION)  # [BK, BD]

    matrix = out + (split * tl.num_programs(1) + group).to(tl.int64) * (K * D)
    inside = (rows < K)[:, None] & (columns < D)[None, :]
    weights = weight_element(columns, VIEW.channels, VIEW.kernel_elements)
    tl.store(matrix + (rows[:, None] * D + weights[None, :]), total * scale, mask=inside)


def configuration(a: Tensor, g: Tensor, geometry: ConvGeometry) -> dict[str, Any]:
    """Choose the constants and options of the launch.

    Args:
        a: ``[N, C, *in]``; only its layout and dtype are read.
        g: ``[V, N, K, *out]``, likewise.
        geometry: The layer, with zeros padding.

    Returns:
        Keyword arguments of the launch.
    """
    rows = tile(geometry.group_outputs, largest=64)
    columns = tile(geometry.patch_dim, largest=64)
    # Squares of 16-bit numbers have more bits than TF32 keeps.
    options = product_options(rows, columns, torch.float32)
    return {
        "VIEW": view(a, geometry),
        "K": geometry.group_outputs,
        "CHANNEL_STEP": g.stride(2),
        "BK": rows,
        "BD": columns,
        "BN": 16,
        **options,
        "PRECISION": options["PRECISION"] if a.dtype == torch.float32 else "ieee",
    }


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launch for contiguous operands, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the operands.
        target: The architecture; all have the same launches.

    Returns:
        The kernel, the types of its arguments, and its `configuration`, in a list of one.
    """
    a, geometry = gatherable(meta_input(geometry, dtype), geometry)
    g = torch.empty(1, 1, geometry.out_channels, *geometry.out_size, dtype=dtype, device="meta")
    types = {"a": POINTERS[dtype], "g": POINTERS[dtype], "out": "*fp32", "scale": "fp32"}
    types |= dict.fromkeys(("examples", "gradients", "steps_per_split", "vector_step", "example_step"), "i32")
    return [(squares_kernel, types, configuration(a, g, geometry))]


def diagonal_fisher(a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return the diagonal as `kfc_kernels.diagonal_fisher` does; operands of unlike dtypes meet in float32."""
    a, g = alike(a, g)
    a, geometry = gatherable(a, geometry)
    launch = configuration(a, g, geometry)
    batch, gradients, rows, columns = a.shape[0], g.shape[0] * a.shape[0], geometry.group_outputs, geometry.patch_dim
    check_indices("diagonal_fisher", gradients=gradients, block=rows * columns)
    tiles = triton.cdiv(rows, launch["BK"]) * triton.cdiv(columns, launch["BD"])
    steps = triton.cdiv(gradients, launch["BN"])
    parts = splits(tiles * geometry.groups, triton.cdiv(steps, STEPS_PER_SPLIT), a.device)
    partial = torch.empty(parts, geometry.groups, rows, columns, dtype=torch.float32, device=a.device)
    with on_device_of(a):
        squares_kernel[tiles, geometry.groups, parts](
            a, g, partial, batch, gradients, triton.cdiv(steps, parts), *g.stride()[:2], 1 / batch, **launch
        )
    diagonal = summed(partial)
    return store(diagonal.reshape(geometry.grouped(rows, columns)), out, decay)
