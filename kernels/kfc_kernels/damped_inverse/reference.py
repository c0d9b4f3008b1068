"""Damped inverses by torch.linalg."""

from __future__ import annotations

import torch
from torch import Tensor


def cholesky(matrix: Tensor, shift: Tensor) -> Tensor:
    """Invert ``matrix + shift I`` through its Cholesky factor."""
    damped = matrix.clone()
    damped.diagonal(dim1=-2, dim2=-1).add_(shift)
    return torch.cholesky_inverse(torch.linalg.cholesky(damped))


def eigendecomposition(matrix: Tensor, shift: Tensor) -> Tensor:
    """Invert ``matrix + shift I`` through its eigenvalues, those below zero (by rounding) read as zero.

    Args:
        matrix: ``[n, n]`` or ``[groups, n, n]``.
        shift: A scalar or ``[groups, 1]``.

    Returns:
        The inverse.

    Raises:
        torch.linalg.LinAlgError: The smallest eigenvalue and the shift are both zero.
    """
    values, vectors = torch.linalg.eigh(matrix)
    damped = values.clamp_min(0) + shift
    if not (damped > 0).all():
        raise torch.linalg.LinAlgError("its smallest eigenvalue is zero")  # type: ignore[attr-defined]
    return vectors / damped.unsqueeze(-2) @ vectors.mT
