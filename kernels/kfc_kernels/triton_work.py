"""What the Triton implementations do of every operator but the input factor: their tiles' products and traffic."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.tiles import (
    CHUNK_BYTES,
    FILTER_SIDE,
    GRADIENT_COLUMNS,
    GRADIENT_ROWS,
    PRODUCT_SIDE,
    SMALLEST_TILE,
    SYMMETRIC_SIDE,
    mini_block_outputs,
    tile,
)
from kfc_kernels.work import Work

FLOAT_BYTES = 4


def _padded(size: int, largest: int) -> tuple[int, int]:
    """Return the side of the tiles that cover ``size``, and what they cover."""
    side = tile(size, largest=largest)
    return side, side * math.ceil(size / side)


def _sum(*parts: Work) -> Work:
    """Add parts that follow one another."""
    fields = ("flops", "bytes", "calls", "cached")
    return Work(**{name: sum(getattr(part, name) for part in parts) for name in fields})


def symmetric_work(rows: int, dim: int, groups: int, itemsize: int) -> Work:
    """Count `kfc_kernels.triton_symmetric.symmetric_product` of ``[rows, groups, dim]``."""
    side, covered = _padded(dim, SYMMETRIC_SIDE)
    tiles = covered // side * (covered // side + 1) // 2 * groups
    products = rows * tiles * side**2
    moved = itemsize * rows * groups * dim + 3 * FLOAT_BYTES * groups * dim**2
    return Work(2 * products, moved, 2, 2 * itemsize * products / side)


def gradients_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:
    """Count the tiles of per-example gradients, before anything is done with them."""
    height, rows = _padded(geometry.group_outputs, GRADIENT_ROWS)
    width, columns = _padded(geometry.patch_dim, GRADIENT_COLUMNS)
    products = geometry.groups * batch * geometry.positions * rows * columns
    inputs = batch * geometry.in_channels * math.prod(geometry.in_size)
    signals = batch * geometry.out_channels * geometry.positions
    cached = itemsize * products * (1 / height + 1 / width)
    return Work(2 * products, itemsize * (inputs + signals), 1, cached)


def _stored(geometry: ConvGeometry, batch: int) -> Work:
    """Count the writing of a batch's gradients and their reading."""
    return Work(0, 2 * FLOAT_BYTES * batch * geometry.parameters, 0)


def output_factor_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:
    """Count one symmetric product over examples and positions."""
    return symmetric_work(batch * geometry.positions, geometry.group_outputs, geometry.groups, itemsize)


def patch_sums_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:
    """Count `kfc_kernels.triton_patch_sums.patch_sums`."""
    pixels = batch * geometry.in_channels * math.prod(geometry.in_size)
    sums = batch * geometry.in_channels * geometry.kernel_elements
    return Work(
        2 * pixels * _padded(geometry.kernel_elements, FILTER_SIDE)[1], itemsize * pixels + FLOAT_BYTES * sums, 1
    )


def reduced_input_factor_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:
    """Count the sums of patches and their symmetric product."""
    return _sum(
        patch_sums_work(geometry, batch, itemsize),
        symmetric_work(batch, geometry.patch_dim, geometry.groups, FLOAT_BYTES),
    )


def reduced_output_factor_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:
    """Count the sums over positions and their symmetric product."""
    vectors = ConvGeometry.conv(geometry.out_channels, geometry.out_channels, geometry.out_size, 1)
    return _sum(
        patch_sums_work(vectors, batch, itemsize),
        symmetric_work(batch, geometry.group_outputs, geometry.groups, FLOAT_BYTES),
    )


def diagonal_fisher_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:
    """Count gradients in registers; of one position, one product of squares."""
    return _sum(gradients_work(geometry, batch, itemsize), Work(0, FLOAT_BYTES * geometry.parameters, 1))


def block_fisher_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:
    """Count gradients in memory, and the symmetric product of each chunk, which reads and writes the block."""
    side = geometry.group_outputs * geometry.patch_dim
    chunks = math.ceil(FLOAT_BYTES * batch * geometry.parameters / CHUNK_BYTES)
    again = Work(0, 3 * FLOAT_BYTES * (chunks - 1) * geometry.groups * side**2, 3 * (chunks - 1))
    product = symmetric_work(batch, side, geometry.groups, FLOAT_BYTES)
    return _sum(gradients_work(geometry, batch, itemsize), _stored(geometry, batch), product, again)


def mini_block_fisher_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:
    """Count gradients of one channel at a time and their outer products; of a 1x1 layer as of a block."""
    rows, elements = geometry.group_outputs, geometry.kernel_elements
    if elements == 1:
        product = symmetric_work(batch * rows, geometry.patch_dim, geometry.groups, FLOAT_BYTES)
        return _sum(gradients_work(geometry, batch, itemsize), _stored(geometry, batch), product)
    side = math.ceil(elements / SMALLEST_TILE)
    tiles = side * (side + 1) // 2
    height, tall = _padded(rows, mini_block_outputs(elements))
    channels = geometry.in_channels
    products = (1 if side == 1 else 2) * tiles * channels * batch * geometry.positions * tall * SMALLEST_TILE
    outer = tiles * channels * batch * tall * SMALLEST_TILE**2
    cached = itemsize * products * (1 / height + 1 / SMALLEST_TILE)
    moved = gradients_work(geometry, batch, itemsize).bytes + 2 * FLOAT_BYTES * channels * rows * elements**2
    return Work(2 * (products + outer), moved, 2, cached)


def exact_fisher_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:
    """Count one symmetric product of the gradients of a network with as many parameters as a layer."""
    return symmetric_work(batch, geometry.parameters, 1, itemsize)


def eigenvalue_correction_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:  # noqa: ARG001
    """Count the rotation of signals, and gradients that are rotated in registers, all in float32."""
    outputs, patch = geometry.group_outputs, geometry.patch_dim
    signals = batch * geometry.out_channels * geometry.positions
    left = Work(2 * signals * outputs, 3 * FLOAT_BYTES * signals, 2, 0)
    if geometry.kernel_elements == 1 or geometry.positions == 1:
        patches = batch * geometry.groups * geometry.positions * patch
        right = Work(2 * patches * patch, 3 * FLOAT_BYTES * patches, 1, 0)
        return _sum(left, right, diagonal_fisher_work(geometry, batch, FLOAT_BYTES))
    chunks = math.ceil(FLOAT_BYTES * batch * geometry.parameters / CHUNK_BYTES)
    rotated = ConvGeometry.conv(geometry.groups * patch, geometry.out_channels, (patch,), 1, groups=geometry.groups)
    squares = gradients_work(rotated, batch, FLOAT_BYTES)
    again = Work(0, 0, 3 * (chunks - 1))
    return _sum(
        left,
        gradients_work(geometry, batch, FLOAT_BYTES),
        _stored(geometry, batch),
        Work(squares.flops, 0, 1, squares.cached),
        again,
    )


def precondition_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:  # noqa: ARG001
    """Count both products of a layer, in tiles of 64 by 64."""
    rows, columns = (_padded(size, PRODUCT_SIDE)[1] for size in (geometry.group_outputs, geometry.patch_dim))
    products = geometry.groups * rows * columns * (geometry.group_outputs + geometry.patch_dim)
    inverses = geometry.groups * (geometry.group_outputs**2 + geometry.patch_dim**2)
    return Work(
        2 * products, itemsize * (4 * geometry.parameters + inverses), 2, 2 * itemsize * products / PRODUCT_SIDE
    )


def precondition_diagonal_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:  # noqa: ARG001
    """Count one pass over gradient, diagonal and result."""
    return Work(2 * geometry.parameters, 3 * itemsize * geometry.parameters, 1)


def precondition_dense_work(geometry: ConvGeometry, batch: int, itemsize: int) -> Work:  # noqa: ARG001
    """Count one pass over the inverse of a block."""
    elements = geometry.groups * (geometry.group_outputs * geometry.patch_dim) ** 2
    return Work(2 * elements, itemsize * elements, 1)


WORK: dict[str, Callable[[ConvGeometry, int, int], Work]] = {
    "output_factor": output_factor_work,
    "reduced_input_factor": reduced_input_factor_work,
    "reduced_output_factor": reduced_output_factor_work,
    "diagonal_fisher": diagonal_fisher_work,
    "block_fisher": block_fisher_work,
    "mini_block_fisher": mini_block_fisher_work,
    "exact_fisher": exact_fisher_work,
    "eigenvalue_correction": eigenvalue_correction_work,
    "precondition": precondition_work,
    "precondition_diagonal": precondition_diagonal_work,
    "precondition_dense": precondition_dense_work,
}
"""Counts the work of an operator's Triton implementation from a layer, N and the bytes of an operand's element."""


def multiplied_in(operator: str, geometry: ConvGeometry, dtype: torch.dtype) -> torch.dtype:
    """Return in what most products of an operator's Triton implementation are: some are of float32 sums or squares."""
    of_squares = operator == "diagonal_fisher" and geometry.positions == 1
    of_rows = operator == "mini_block_fisher" and geometry.kernel_elements == 1
    always = operator in ("eigenvalue_correction", "block_fisher")
    return torch.float32 if of_squares or of_rows or always else dtype
