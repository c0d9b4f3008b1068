"""Damped inverses by Newton's iteration: nothing but matrix products, from the last inverse if there is one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kfc_kernels.damped_inverse.attempt import Attempt, identity, replaced, shifted

MOST_ITERATIONS = 100
"""Each doubles the digits; before there are any, each doubles the smallest eigenvalue of AX: float64 takes some 60."""


def invert(stack: Tensor, shifts: Tensor, previous: Tensor | None) -> Attempt:
    """Iterate X <- X (2I - AX) on A = M + s I (Schulz 1933), as in `kfc_kernels.damped_inverse.damped_inverse`.

    P = AX is carried along as P <- P (2I - P) (the coupled form of Higham 2008, section 7.3): computed anew from X, its
    rounding would be amplified by the condition number once more each time.
    A matrix is done when ``||I - P||_F / sqrt(n)`` is at most ``eps sqrt(n)`` or falls no more. It counts as inverted,
    and so as positive definite, if the product of A with the symmetrised result is nearer to I than 1 in the Frobenius
    norm; the residual returned is that of this product. Where a warm start misses that, a cold one follows.

    Args:
        stack: ``[b, n, n]``.
        shifts: ``[b]``.
        previous: Inverses of matrices nearby, positive definite, ``[b, n, n]``; None for a cold start.

    Returns:
        The inverses, their residuals and iterations.
    """
    return _from(shifted(stack, shifts), previous)


def _from(damped: Tensor, previous: Tensor | None) -> Attempt:
    inverse, product = _cold(damped) if previous is None else _warm(damped, previous)
    inverse, iterations = _iterate(inverse, product)
    inverse = (inverse + inverse.mT) / 2
    residuals = _residual(damped @ inverse)
    attempt = Attempt(inverse, residuals * math.sqrt(damped.shape[-1]) < 1, residuals, iterations)
    missed = (~attempt.definite).nonzero().squeeze(1)
    if previous is None or not len(missed):
        return attempt
    again = _from(damped[missed], None)
    return replaced(attempt, missed, again._replace(iterations=iterations[missed] + again.iterations))


def _iterate(inverse: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
    """Iterate X and P = AX from where they are; return X and each matrix's number of iterations."""
    tolerance = torch.finfo(product.dtype).eps * math.sqrt(product.shape[-1])
    residuals = _residual(product)
    active = residuals > tolerance
    iterations = torch.zeros_like(active, dtype=torch.int64)
    for _ in range(MOST_ITERATIONS):
        if not active.any():
            break
        going_on = active.reshape(-1, 1, 1)
        inverse = torch.baddbmm(inverse, inverse, product, beta=2, alpha=-1).where(going_on, inverse)
        product = torch.baddbmm(product, product, product, beta=2, alpha=-1).where(going_on, product)
        iterations += active
        after = _residual(product)
        active = active & (after > tolerance) & (after < residuals)
        residuals = after
    return inverse, iterations


def _cold(damped: Tensor) -> tuple[Tensor, Tensor]:
    """Start from the identity over a bound of the largest eigenvalue, so that those of AX lie in (0, 1]."""
    bound = _bound(damped)
    return identity(damped) / bound, damped / bound


def _warm(damped: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
    """Start from the last inverse, scaled down where AX is not near I, or cold where that is nearer."""
    inverse, product = _cold(damped)
    warm = damped @ previous
    near = _residual(warm) * math.sqrt(damped.shape[-1]) < 1
    scale = _bound(warm).where(~near.reshape(-1, 1, 1), 1.0)
    warm = warm / scale
    better = (_residual(warm) < _residual(product)).reshape(-1, 1, 1)
    return (previous / scale).where(better, inverse), warm.where(better, product)


def _residual(product: Tensor) -> Tensor:
    """Return ``||I - P||_F / sqrt(n)``, ``[b]``."""
    return torch.linalg.matrix_norm(product - identity(product)) / math.sqrt(product.shape[-1])


def _bound(stack: Tensor) -> Tensor:
    """Bound the eigenvalues' size by norms, ``[b, 1, 1]``."""
    sums = stack.abs().sum(-1).amax(-1)
    return torch.minimum(torch.linalg.matrix_norm(stack), sums).reshape(-1, 1, 1)
