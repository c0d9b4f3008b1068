"""The diagonal Fisher with each example's gradient tile formed, squared and forgotten in registers."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import store
from kfc_kernels.triton_gather import channels_together, gather_patches, gatherable, on_two_axes, view, weight_element
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


@triton.jit(do_not_specialize=["examples", "gradients", "gradients_per_split", "scale"])
def diagonal_fisher_kernel(
    a: tl.tensor,
    g: tl.tensor,
    out: tl.tensor,
    examples: tl.tensor,
    gradients: tl.tensor,
    gradients_per_split: tl.tensor,
    scale: tl.tensor,
    VIEW: tl.constexpr,
    K: tl.constexpr,
    G_STEPS: tl.constexpr,
    BK: tl.constexpr,
    BD: tl.constexpr,
    BP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Sum one tile's squared gradients over one split of V*N; ``out`` is ``[splits, groups, K/groups, D]``."""
    D: tl.constexpr = VIEW.weights + VIEW.bias
    POSITIONS: tl.constexpr = VIEW.positions
    column_tiles: tl.constexpr = (D + BD - 1) // BD
    group = tl.program_id(1)
    split = tl.program_id(2)
    rows = tl.program_id(0) // column_tiles * BK + tl.arange(0, BK)
    columns = tl.program_id(0) % column_tiles * BD + tl.arange(0, BD)

    total = tl.zeros((BK, BD), tl.float32)
    first = split * gradients_per_split
    for index in range(first, min(first + gradients_per_split, gradients)):
        vector = index // examples
        example = index % examples
        signal = g + vector.to(tl.int64) * G_STEPS[0] + example.to(tl.int64) * G_STEPS[1]
        signal += (group * K + rows).to(tl.int64) * G_STEPS[2]  # [BK]
        gradient = tl.zeros((BK, BD), tl.float32)
        for start in range(0, POSITIONS, BP):
            position = start + tl.arange(0, BP)
            valid = position < POSITIONS
            pixel = position // VIEW.out_width * G_STEPS[3] + position % VIEW.out_width * G_STEPS[4]  # [BP]
            left = tl.load(
                signal[:, None] + pixel[None, :], mask=(rows < K)[:, None] & valid[None, :], other=0.0
            )  # [BK, BP]
            right = gather_patches(a, group, columns, example, position, valid, VIEW)  # [BD, BP]
            gradient = tl.dot(left, tl.trans(right), gradient, input_precision=PRECISION)  # [BK, BD]
        total += gradient * gradient

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
    narrow = exact(a.dtype) and not channels_together(a, geometry)
    columns = tile(geometry.patch_dim, largest=64 if narrow else 128)
    return {
        "VIEW": view(a, geometry),
        "K": geometry.group_outputs,
        "G_STEPS": on_two_axes(g, geometry.axes).stride(),
        "BK": rows,
        "BD": columns,
        "BP": tile(geometry.positions, largest=16 if a.dtype == torch.float32 else 32),
        **product_options(rows, columns, a.dtype),
        # Two tiles of sums fill the registers: a third stage would spill.
        "num_stages": 2,
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
    types = {"a": POINTERS[dtype], "g": POINTERS[dtype], "out": "*fp32"}
    types |= {"examples": "i32", "gradients": "i32", "gradients_per_split": "i32", "scale": "fp32"}
    a, geometry = gatherable(meta_input(geometry, dtype), geometry)
    g = torch.empty(1, 1, geometry.out_channels, *geometry.out_size, dtype=dtype, device="meta")
    return [(diagonal_fisher_kernel, types, configuration(a, g, geometry))]


def diagonal_fisher(a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return the diagonal as `kfc_kernels.diagonal_fisher` does, multiplying operands of unlike dtypes as float32."""
    if a.dtype != g.dtype:
        a, g = a.float(), g.float()
    a, geometry = gatherable(a, geometry)
    launch = configuration(a, g, geometry)
    batch, gradients, rows, columns = a.shape[0], g.shape[0] * a.shape[0], geometry.group_outputs, geometry.patch_dim
    check_indices(
        "diagonal_fisher",
        gradients=gradients,
        elements_of_an_example=max(a[0].numel(), g[0, 0].numel()),
        block=rows * columns,
    )
    tiles = triton.cdiv(rows, launch["BK"]) * triton.cdiv(columns, launch["BD"])
    parts = splits(tiles * geometry.groups, gradients, a.device)
    per_split = triton.cdiv(gradients, parts)
    partial = torch.empty(parts, geometry.groups, rows, columns, dtype=torch.float32, device=a.device)
    with on_device_of(a):
        diagonal_fisher_kernel[tiles, geometry.groups, parts](
            a, g, partial, batch, gradients, per_split, 1 / batch, **launch
        )
    diagonal = partial.sum(0) if parts > 1 else partial[0]
    return store(diagonal.reshape(geometry.grouped(rows, columns)), out, decay)
