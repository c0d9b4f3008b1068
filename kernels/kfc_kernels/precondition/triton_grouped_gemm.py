"""Preconditioning of all layers, of whatever sizes, by two launches of one grouped matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.precondition.tables import addresses, aligned, check_alike, shared_out, with_rows
from kfc_kernels.tiles import PRODUCT_SIDE
from kfc_kernels.triton_launch import Ahead, exact, on_device_of, product_options

# A product in the table: addresses of factors and result, height, width, inner size, their row strides, first tile.
FIELDS = 10
HEIGHT, WIDTH = 3, 4
STEPS = slice(6, 8)


@triton.jit
def grouped_product_kernel(
    products: tl.tensor,
    owners: tl.tensor,
    squares: tl.tensor,
    TYPE: tl.constexpr,
    FIELDS: tl.constexpr,
    NORM: tl.constexpr,
    ALIGNED: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BI: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Compute one tile of the product that ``owners`` names; ``products`` is ``[products, FIELDS]``."""
    product = products + tl.load(owners + tl.program_id(0)) * FIELDS
    left = tl.load(product).to(tl.pointer_type(TYPE))
    right = tl.load(product + 1).to(tl.pointer_type(TYPE))
    result = tl.load(product + 2).to(tl.pointer_type(TYPE))
    height = tl.load(product + 3)
    width = tl.load(product + 4)
    inner = tl.load(product + 5)
    left_step = tl.load(product + 6)
    right_step = tl.load(product + 7)
    result_step = tl.load(product + 8)
    if ALIGNED:
        left = tl.multiple_of(left, 16)
        right = tl.multiple_of(right, 16)
        left_step = tl.multiple_of(left_step, 16 // (TYPE.primitive_bitwidth // 8))
        right_step = tl.multiple_of(right_step, 16 // (TYPE.primitive_bitwidth // 8))
    index = tl.program_id(0) - tl.load(product + 9)
    tiles_across = tl.cdiv(width, BN)
    rows = index // tiles_across * BM + tl.arange(0, BM)
    columns = index % tiles_across * BN + tl.arange(0, BN)

    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, inner, BI):
        along = start + tl.arange(0, BI)
        left_tile = tl.load(
            left + rows[:, None] * left_step + along[None, :],
            mask=(rows < height)[:, None] & (along < inner)[None, :],
            other=0.0,
        )  # [BM, BI]
        right_tile = tl.load(
            right + along[:, None] * right_step + columns[None, :],
            mask=(along < inner)[:, None] & (columns < width)[None, :],
            other=0.0,
        )  # [BI, BN]
        total = tl.dot(left_tile, right_tile, total, input_precision=PRECISION)  # [BM, BN]
    inside = (rows < height)[:, None] & (columns < width)[None, :]
    tl.store(result + rows[:, None] * result_step + columns[None, :], total.to(TYPE), mask=inside)
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
        "BM": PRODUCT_SIDE,
        "BN": PRODUCT_SIDE,
        "BI": 16 if exact(dtype) else 32,
        **product_options(PRODUCT_SIDE, PRODUCT_SIDE, dtype),
    }


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launches of both products, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: A layer; all have the same launches.
        dtype: Element type of the matrices.
        target: The architecture; all have the same launches.

    Returns:
        Of each, the second with the norm, the kernel, the types of its arguments, and its `configuration`.
    """
    types = {"products": "*i64", "owners": "*i64", "squares": "*fp32"}
    return [(grouped_product_kernel, types, configuration(dtype, norm=norm, aligned=True)) for norm in (False, True)]


def _products(lefts: Sequence[Tensor], rights: Sequence[Tensor], results: Sequence[Tensor]) -> list[list[int]]:
    """Return the products ``result = left @ right`` of all layers and groups, but for their first tiles."""
    return [
        [*pointers, *result.shape[-2:], left.shape[-1], left.stride(-2), right.stride(-2), result.stride(-2)]
        for left, right, result in zip(lefts, rights, results, strict=True)
        for pointers in zip(addresses(left), addresses(right), addresses(result), strict=True)
    ]


def _check_shapes(
    gradients: Sequence[Tensor], output_inverses: Sequence[Tensor], input_inverses: Sequence[Tensor]
) -> None:
    """Refuse what a kernel that is given bare addresses would read past.

    Raises:
        ValueError: Shapes do not match.
    """
    for gradient, output_inverse, input_inverse in zip(gradients, output_inverses, input_inverses, strict=True):
        *groups, rows, columns = gradient.shape
        for name, inverse, size in (("output", output_inverse, rows), ("input", input_inverse, columns)):
            if list(inverse.shape) != [*groups, size, size]:
                raise ValueError(
                    f"a gradient of shape {list(gradient.shape)} needs an {name} inverse of shape "
                    f"{[*groups, size, size]}, not {list(inverse.shape)}"
                )


def precondition(
    gradients: Sequence[Tensor],
    output_inverses: Sequence[Tensor],
    input_inverses: Sequence[Tensor],
    *,
    squared_norm: Tensor | None,
) -> list[Tensor]:
    """Compute both Kronecker products as in `kfc_kernels.precondition.precondition`.

    Args:
        gradients: ``[K, D]`` or ``[groups, K/groups, D]`` each.
        output_inverses: ``[K, K]`` or ``[groups, K/groups, K/groups]`` each.
        input_inverses: ``[D, D]`` or ``[groups, D, D]`` each.
        squared_norm: As there.

    Returns:
        One natural gradient per layer.

    Raises:
        ValueError: The dtypes or devices are not all the same, or shapes do not match.
    """
    check_alike([*gradients, *output_inverses, *input_inverses])
    _check_shapes(gradients, output_inverses, input_inverses)
    dtype, device = gradients[0].dtype, gradients[0].device
    gradients, output_inverses, input_inverses = (
        [with_rows(matrix) for matrix in matrices] for matrices in (gradients, output_inverses, input_inverses)
    )
    halves = [torch.empty(gradient.shape, dtype=dtype, device=device) for gradient in gradients]
    results = [torch.empty(gradient.shape, dtype=dtype, device=device) for gradient in gradients]
    products = torch.tensor([_products(output_inverses, gradients, halves), _products(halves, input_inverses, results)])

    in_rows = aligned(products[..., :2], products[..., STEPS], dtype.itemsize)
    launch = configuration(dtype, norm=False, aligned=in_rows)
    height, width = products[0, :, HEIGHT], products[0, :, WIDTH]
    (first, second), owners = shared_out(products, -(-height // launch["BM"]) * -(-width // launch["BN"]), device)
    squares = torch.empty(len(owners), dtype=torch.float32, device=device)
    with on_device_of(owners):
        grouped_product_kernel[(len(owners),)](first, owners, squares, **launch)
        launch["NORM"] = squared_norm is not None
        grouped_product_kernel[(len(owners),)](second, owners, squares, **launch)
    if squared_norm is not None:
        squared_norm.copy_(squares.sum())
    return results
