"""The change to an eigenbasis, of all rows of a group at once."""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry


def by_group(
    geometry: ConvGeometry, output_basis: Tensor, input_basis: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Give both bases a group axis, whether or not there are groups.

    Args:
        geometry: The layer.
        output_basis: ``[K, K]``; with groups ``[groups, K/groups, K/groups]``.
        input_basis: ``[D, D]``; with groups ``[groups, D, D]``.
        dtype: Of the results.

    Returns:
        ``[groups, K/groups, K/groups]`` and ``[groups, D, D]``.
    """
    groups, outputs, patch = geometry.groups, geometry.group_outputs, geometry.patch_dim
    left, right = output_basis.to(dtype), input_basis.to(dtype)
    return left.reshape(groups, outputs, outputs), right.reshape(groups, patch, patch)


def rotate(rows: Tensor, basis: Tensor) -> Tensor:
    """Express rows in a basis.

    Args:
        rows: ``[..., groups, n, m, size]``.
        basis: Its vectors as columns, ``[groups, size, size]``.

    Returns:
        The rows, shaped as they were.
    """
    return (rows.flatten(-3, -2) @ basis).unflatten(-2, rows.shape[-3:-1])
