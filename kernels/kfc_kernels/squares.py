"""Sums of squares of per-example gradients."""

from __future__ import annotations

from torch import Tensor

# Elements of one example's gradient from which on its squares are added by themselves.
ELEMENTS_OF_A_PASS = 2**13


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


def add_squared_sums(total: Tensor, vectors: Tensor, patches: Tensor, scale: float, *, kept: bool) -> None:
    """Add (sum_t g a^T)^2 of some examples without any gradient: sum_{s,t} (g_s g_t) (a_s a_t)^T, elementwise.

    Args:
        total: ``[groups, K/groups, D]``, where it is added.
        vectors: ``[V, groups, n, |T|, K/groups]``.
        patches: ``[groups, n, |T|, D]``.
        scale: A factor of what is added.
        kept: Whether ``total`` holds anything to add to.
    """
    for position in range(patches.shape[2]):
        weights = (vectors[..., position:, :] * vectors[..., position : position + 1, :]).sum(0)
        weights[:, :, 1:] *= 2
        products = patches[:, :, position:] * patches[:, :, position : position + 1]
        total.baddbmm_(weights.flatten(1, 2).mT, products.flatten(1, 2), beta=int(kept or position > 0), alpha=scale)
