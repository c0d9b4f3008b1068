"""Sums of squares of per-example gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels.dispatch import Case

# Elements of one example's gradient from which on its squares are added by themselves.
ELEMENTS_OF_A_PASS = 2**13


def declines_many_positions(case: Case) -> str | None:
    """Decline where a gradient is a sum over several output positions, so that its square is no product of squares."""
    if case.geometry is not None and case.geometry.positions > 1:
        return f"takes one output position, not {case.geometry.positions}"
    return None


def add_squares(total: Tensor, gradients: Tensor) -> None:
    """Add the squares of some examples' gradients.

    Args:
        total: ``[*shape]``, where they are added.
        gradients: ``[n, *shape]``; overwritten.
    """
    if total.numel() < ELEMENTS_OF_A_PASS:
        total += gradients.square_().sum(0)
        return
    for gradient in gradients:
        total.addcmul_(gradient, gradient)


def squared_outer_products(vectors: Tensor, rows: Tensor) -> Tensor:
    """Average the squares of outer products over examples: one product of squares.

    Args:
        vectors: ``[groups, V, N, K/groups]``.
        rows: ``[groups, N, D]``.

    Returns:
        (1/N) sum_{v,n} (g a^T)^2, ``[groups, K/groups, D]``.
    """
    weights = vectors.square().sum(1)
    total = rows.new_empty(len(rows), weights.shape[-1], rows.shape[-1])
    return torch.baddbmm(total, weights.mT, rows.square(), beta=0, alpha=1 / rows.shape[1])
