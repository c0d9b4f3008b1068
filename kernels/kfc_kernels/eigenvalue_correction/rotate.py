"""The change to an eigenbasis, of all rows of a group at once."""

from __future__ import annotations

from torch import Tensor


def rotate(rows: Tensor, basis: Tensor) -> Tensor:
    """Express rows in a basis.

    Args:
        rows: ``[..., groups, n, m, size]``.
        basis: Its vectors as columns, ``[groups, size, size]``.

    Returns:
        The rows, shaped as they were.
    """
    return (rows.flatten(-3, -2) @ basis).unflatten(-2, rows.shape[-3:-1])
