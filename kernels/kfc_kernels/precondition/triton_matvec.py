"""The dense form for all blocks in one launch, with the squared norm in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.precondition.tables import addresses, aligned, check_alike, shared_out, with_rows
from kfc_kernels.triton_launch import Ahead, on_device_of

# What the table holds of a block: addresses of inverse, gradient and result, its side, a row's step, its first program.
FIELDS = 6
SIDE, ROW_STEP = 3, 4


@triton.jit
def matrix_vector_kernel(
    blocks: tl.tensor,
    owners: tl.tensor,
    squares: tl.tensor,
    TYPE: tl.constexpr,
    FIELDS: tl.constexpr,
    NORM: tl.constexpr,
    ALIGNED: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
) -> None:
    """Compute some rows of the product that ``owners`` names; ``blocks`` is ``[blocks, FIELDS]``."""
    block = blocks + tl.load(owners + tl.program_id(0)) * FIELDS
    matrix = tl.load(block).to(tl.pointer_type(TYPE))
    vector = tl.load(block + 1).to(tl.pointer_type(TYPE))
    result = tl.load(block + 2).to(tl.pointer_type(TYPE))
    side = tl.load(block + 3)
    row_step = tl.load(block + 4)
    if ALIGNED:
        matrix = tl.multiple_of(matrix, 16)
        vector = tl.multiple_of(vector, 16)
        row_step = tl.multiple_of(row_step, 16 // (TYPE.primitive_bitwidth // 8))
    rows = (tl.program_id(0) - tl.load(block + 5)) * BR + tl.arange(0, BR)

    sums = tl.zeros((BR, BC), tl.float32)
    for start in range(0, side, BC):
        columns = start + tl.arange(0, BC)
        inside = (rows < side)[:, None] & (columns < side)[None, :]
        values = tl.load(matrix + rows[:, None] * row_step + columns[None, :], mask=inside, other=0.0)
        along = tl.load(vector + columns, mask=columns < side, other=0.0)
        sums += values.to(tl.float32) * along.to(tl.float32)[None, :]
    total = tl.sum(sums, 1)  # [BR]
    tl.store(result + rows, total.to(TYPE), mask=rows < side)
    if NORM:
        tl.store(squares + tl.program_id(0), tl.sum(total * total))


def configuration(dtype: torch.dtype, *, norm: bool, aligned: bool) -> dict[str, Any]:
    """Choose the constants and options of the launch, one for all sizes.

    Args:
        dtype: Element type of the matrices.
        norm: Whether the squared norm is wanted.
        aligned: As `kfc_kernels.precondition.tables.aligned` tells.

    Returns:
        Keyword arguments of the launch.
    """
    return {
        "TYPE": getattr(tl, str(dtype).removeprefix("torch.")),
        "FIELDS": FIELDS,
        "NORM": norm,
        "ALIGNED": aligned,
        "BR": 8,
        "BC": 512,
        "num_warps": 4,
        "num_stages": 3,
        "enable_fp_fusion": True,
    }


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launch with the norm, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: A layer; all have the same launch.
        dtype: Element type of the matrices.
        target: The architecture; all have the same launches.

    Returns:
        The kernel, the types of its arguments, and its `configuration`, in a list of one.
    """
    types = {"blocks": "*i64", "owners": "*i64", "squares": "*fp32"}
    return [(matrix_vector_kernel, types, configuration(dtype, norm=True, aligned=True))]


def precondition_dense(
    gradients: Sequence[Tensor], inverses: Sequence[Tensor], *, squared_norm: Tensor | None
) -> list[Tensor]:
    """Multiply as in `kfc_kernels.precondition.precondition_dense`.

    Args:
        gradients: As there.
        inverses: Of the dtype and on the device of the gradients.
        squared_norm: One number, or None.

    Returns:
        One natural gradient per block.

    Raises:
        ValueError: The dtypes or devices are not all the same, or a gradient does not fit its inverse.
    """
    check_alike([*gradients, *inverses])
    dtype, device = gradients[0].dtype, gradients[0].device
    entries = []
    matrices = [with_rows(inverse) for inverse in inverses]
    vectors = [gradient.reshape(inverse.shape[:-1]).contiguous() for gradient, inverse in _fitting(gradients, inverses)]
    results = [torch.empty(gradient.shape, dtype=dtype, device=device) for gradient in gradients]
    for matrix, vector, result in zip(matrices, vectors, results, strict=True):
        side = matrix.shape[-1]
        of_groups = zip(addresses(matrix), *(addresses(t.reshape(-1, 1, side)) for t in (vector, result)), strict=True)
        entries += [[*pointers, side, matrix.stride(-2)] for pointers in of_groups]
    table = torch.tensor(entries)
    in_rows = aligned(table[:, :2], table[:, ROW_STEP], dtype.itemsize)
    launch = configuration(dtype, norm=squared_norm is not None, aligned=in_rows)
    blocks, owners = shared_out(table, -(-table[:, SIDE] // launch["BR"]), device)
    squares = torch.empty(len(owners), dtype=torch.float32, device=device)
    with on_device_of(blocks):
        matrix_vector_kernel[(len(owners),)](blocks, owners, squares, **launch)
    if squared_norm is not None:
        squared_norm.copy_(squares.sum())
    return results


def _fitting(gradients: Sequence[Tensor], inverses: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    pairs = list(zip(gradients, inverses, strict=True))
    for gradient, inverse in pairs:
        *groups, side, other = inverse.shape
        if side != other or gradient.numel() != side * (groups[0] if groups else 1):
            raise ValueError(
                f"a gradient of shape {list(gradient.shape)} does not fit an inverse of shape {list(inverse.shape)}"
            )
    return pairs
