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
    """Invert ``matrix + shift I`` through its eigenvalues, those below zero (by rounding) read as zero."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors / (values.clamp_min(0) + shift).unsqueeze(-2) @ vectors.mT
