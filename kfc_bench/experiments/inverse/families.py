"""Symmetric matrices of a given condition number, by family: what gradients and second moments look like, and worse."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Damped = tuple[Tensor, float]
"""A matrix in float64, and the shift with which its condition number is the one asked for."""


def _normal(rows: int, columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * rows + columns)
    return torch.randn(rows, columns, dtype=torch.float64, generator=generator)


def _with_eigenvalues(values: Tensor) -> Tensor:
    basis = torch.linalg.qr(_normal(len(values), len(values)))[0]
    return basis * values @ basis.mT


def _stretched(matrix: Tensor, condition: float) -> Damped:
    """Move the smallest eigenvalue to 0 and the largest to 1, and shift both."""
    values = torch.linalg.eigvalsh(matrix)
    matrix = matrix - float(values[0]) * torch.eye(len(matrix), dtype=matrix.dtype)
    return matrix / float(values[-1] - values[0]), 1 / (condition - 1)


def _logarithmic(count: int, condition: float) -> Tensor:
    return torch.logspace(0, -math.log10(condition), count, dtype=torch.float64)


def _of_rank(size: int, rank: int, condition: float) -> Damped:
    rows = _normal(rank, size)
    return _stretched(rows.mT @ rows, condition)


def _dense(size: int, condition: float) -> Damped:
    """Second moments of four times as many normal vectors as entries."""
    return _of_rank(size, 4 * size, condition)


def _spectrum(size: int, condition: float) -> Damped:
    """Eigenvalues evenly spread on a logarithmic scale."""
    return _with_eigenvalues(_logarithmic(size, condition)), 0.0


def _psd(size: int, condition: float) -> Damped:
    """Second moments of as many vectors as entries: eigenvalues down to next to nothing."""
    return _of_rank(size, size, condition)


def _rankdef(size: int, condition: float) -> Damped:
    """Rank 3n/4."""
    return _of_rank(size, 3 * size // 4, condition)


def _nearrank(size: int, condition: float) -> Damped:
    """Rank 3n/4, but for eigenvalues of a tenth of the shift."""
    rank = 3 * size // 4
    large = torch.linspace(1, 0.1, rank, dtype=torch.float64)
    shift = 1 / (1.1 * condition - 1)
    return _with_eigenvalues(torch.cat([large, large.new_full((size - rank,), shift / 10)])), shift


def _clustered(size: int, condition: float) -> Damped:
    """Four clusters of eigenvalues, a hundred-thousandth wide."""
    values = _logarithmic(4, condition).repeat_interleave(-(-size // 4))[:size]
    return _with_eigenvalues(values * (1 + 1e-5 * _normal(1, size)[0])), 0.0


def _repeated(size: int, condition: float) -> Damped:
    """Two eigenvalues, each for half of the space."""
    return _with_eigenvalues(_logarithmic(2, condition).repeat_interleave(-(-size // 2))[:size]), 0.0


def _rowscale(size: int, condition: float) -> Damped:
    """A well-conditioned matrix, rows and columns scaled: what layers of unlike units give."""
    rows = _normal(16 * size, size)
    scale = _logarithmic(size, condition).sqrt()
    return scale * (rows.mT @ rows / len(rows)) * scale.unsqueeze(1), 0.0


def _lowrank(size: int, condition: float) -> Damped:
    """Rank n/8 and damping: a factor of few examples."""
    return _of_rank(size, size // 8, condition)


def _tridiagonal(size: int, condition: float) -> Damped:
    """Second differences."""
    differences = torch.eye(size, dtype=torch.float64).diff(dim=0)
    return _stretched(differences.mT @ differences, condition)


def _band(size: int, condition: float) -> Damped:
    """Normal numbers in eight diagonals, multiplied with their transpose."""
    rows = _normal(size, size).tril().triu(-7)
    return _stretched(rows @ rows.mT, condition)


def _diagonal(size: int, condition: float) -> Damped:
    """No more than a diagonal."""
    return _logarithmic(size, condition).diag(), 0.0


FAMILIES: dict[str, Callable[[int, float], Damped]] = {
    "dense": _dense,
    "spectrum": _spectrum,
    "psd": _psd,
    "rankdef": _rankdef,
    "nearrank": _nearrank,
    "clustered": _clustered,
    "repeated": _repeated,
    "rowscale": _rowscale,
    "lowrank": _lowrank,
    "tridiagonal": _tridiagonal,
    "band": _band,
    "diagonal": _diagonal,
}
"""Functions of the size (at least 8) and the condition number; largest eigenvalues are 1 or near it."""
