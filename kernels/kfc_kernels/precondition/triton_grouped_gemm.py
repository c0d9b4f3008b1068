"""Preconditioning of all layers, of whatever sizes, by two launches of one grouped matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.triton_launch import Ahead, exact, on_device_of, product_options

# A product in the table: addresses of factors and result, height, width, inner size, their row strides, first tile.
FIELDS = 10
HEIGHT, WIDTH = 3, 4


@triton.jit
def grouped_product_kernel(
    products: tl.tensor,
    owners: tl.tensor,
    TYPE: tl.constexpr,
    FIELDS: tl.constexpr,
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


def configuration(dtype: torch.dtype) -> dict[str, Any]:
    """Choose the constants and options of the launch, one for all sizes.

    Args:
        dtype: Element type of the matrices.

    Returns:
        Keyword arguments of the launch.
    """
    return {
        "TYPE": getattr(tl, str(dtype).removeprefix("torch.")),
        "FIELDS": FIELDS,
        "BM": 64,
        "BN": 64,
        "BI": 16 if exact(dtype) else 32,
        **product_options(64, 64, dtype),
    }


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launch for `kfc_kernels.compile_ahead`.

    Args:
        geometry: A layer; all have the same launch.
        dtype: Element type of the matrices.
        target: The architecture; all have the same launches.

    Returns:
        The kernel, the types of its arguments, and its `configuration`, in a list of one.
    """
    return [(grouped_product_kernel, {"products": "*i64", "owners": "*i64"}, configuration(dtype))]


def _with_rows(matrix: Tensor) -> Tensor:
    """Return ``matrix``, copied where its rows are not contiguous."""
    return matrix if matrix.stride(-1) == 1 else matrix.contiguous()


def _addresses(matrix: Tensor) -> list[int]:
    """Return the address of each group's matrix."""
    if matrix.ndim == 2:
        return [matrix.data_ptr()]
    return [matrix.data_ptr() + group * matrix.stride(0) * matrix.element_size() for group in range(len(matrix))]


def _products(lefts: Sequence[Tensor], rights: Sequence[Tensor], results: Sequence[Tensor]) -> list[list[int]]:
    """Return the products ``result = left @ right`` of all layers and groups, but for their first tiles."""
    return [
        [*addresses, *result.shape[-2:], left.shape[-1], left.stride(-2), right.stride(-2), result.stride(-2)]
        for left, right, result in zip(lefts, rights, results, strict=True)
        for addresses in zip(_addresses(left), _addresses(right), _addresses(result), strict=True)
    ]


def _check_alike(
    gradients: Sequence[Tensor], output_inverses: Sequence[Tensor], input_inverses: Sequence[Tensor]
) -> None:
    """Refuse what a kernel that is given bare addresses would read past or misread.

    Raises:
        ValueError: Dtypes, devices or shapes do not match.
    """
    kinds = {(matrix.dtype, matrix.device) for matrix in (*gradients, *output_inverses, *input_inverses)}
    if len(kinds) > 1:
        listed = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise ValueError(f"all matrices must have one dtype and device, not {listed}")
    for gradient, output_inverse, input_inverse in zip(gradients, output_inverses, input_inverses, strict=True):
        *groups, rows, columns = gradient.shape
        for name, inverse, size in (("output", output_inverse, rows), ("input", input_inverse, columns)):
            if list(inverse.shape) != [*groups, size, size]:
                raise ValueError(
                    f"a gradient of shape {list(gradient.shape)} needs an {name} inverse of shape "
                    f"{[*groups, size, size]}, not {list(inverse.shape)}"
                )


def precondition(
    gradients: Sequence[Tensor], output_inverses: Sequence[Tensor], input_inverses: Sequence[Tensor]
) -> list[Tensor]:
    """Compute both Kronecker products as in `kfc_kernels.precondition.precondition`.

    Args:
        gradients: ``[K, D]`` or ``[groups, K/groups, D]`` each.
        output_inverses: ``[K, K]`` or ``[groups, K/groups, K/groups]`` each.
        input_inverses: ``[D, D]`` or ``[groups, D, D]`` each.

    Returns:
        One natural gradient per layer.

    Raises:
        ValueError: The dtypes or devices are not all the same, or shapes do not match.
    """
    _check_alike(gradients, output_inverses, input_inverses)
    dtype, device = gradients[0].dtype, gradients[0].device
    gradients, output_inverses, input_inverses = (
        [_with_rows(matrix) for matrix in matrices] for matrices in (gradients, output_inverses, input_inverses)
    )
    halves = [torch.empty(gradient.shape, dtype=dtype, device=device) for gradient in gradients]
    results = [torch.empty(gradient.shape, dtype=dtype, device=device) for gradient in gradients]
    products = torch.tensor([_products(output_inverses, gradients, halves), _products(halves, input_inverses, results)])

    launch = configuration(dtype)
    height, width = products[0, :, HEIGHT], products[0, :, WIDTH]
    tiles = -(-height // launch["BM"]) * -(-width // launch["BN"])
    first_tiles = (tiles.cumsum(0) - tiles).expand(2, -1)
    owners = torch.arange(len(tiles)).repeat_interleave(tiles)
    table = torch.cat([products, first_tiles.unsqueeze(2)], 2).to(device)
    owners = owners.to(device)
    with on_device_of(table):
        for step in table:
            grouped_product_kernel[(len(owners),)](step, owners, **launch)
    return results
