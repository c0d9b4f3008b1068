"""A symmetric matrix and its damped inverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NEGATIVE = 1e-10
"""Of the largest eigenvalue: what is below minus this is negative, not rounded (float64, a few thousand rows)."""


@dataclass(frozen=True)
class Damped:
    """A matrix A and A' = A + damping I.

    Attributes:
        matrix: A, ``[n, n]``.
        values: Eigenvalues of A, ``[n]``.
        damping: Added to the diagonal.
        inverse: A'^-1; None where A' is not positive definite.
        log_determinant: Of A'; NaN likewise.
    """

    matrix: Tensor
    values: Tensor
    damping: float
    inverse: Tensor | None
    log_determinant: float

    @classmethod
    def of(cls, matrix: Tensor, damping: float) -> Damped:
        """Decompose a matrix, rounding's asymmetry taken off."""
        matrix = (matrix + matrix.mT) / 2
        root, info = torch.linalg.cholesky_ex(matrix + damping * torch.eye(len(matrix)).to(matrix))
        definite = not int(info)
        inverse = torch.cholesky_inverse(root) if definite else None
        log_determinant = 2 * float(root.diagonal().log().sum()) if definite else float("nan")
        return cls(matrix, torch.linalg.eigvalsh(matrix), damping, inverse, log_determinant)

    @classmethod
    def joined(cls, blocks: Sequence[Damped]) -> Damped:
        """Put equally damped matrices along the diagonal of one."""
        inverses = [block.inverse for block in blocks if block.inverse is not None]
        return cls(
            torch.block_diag(*(block.matrix for block in blocks)),
            torch.cat([block.values for block in blocks]),
            blocks[0].damping,
            torch.block_diag(*inverses) if len(inverses) == len(blocks) else None,
            sum(block.log_determinant for block in blocks),
        )

    @property
    def indefinite(self) -> int:
        """Number of negative eigenvalues of A."""
        return int((self.values < -NEGATIVE * self.values.max()).sum())

    @property
    def sum(self) -> Tensor:
        """A'."""
        return self.matrix + self.damping * torch.eye(len(self.matrix)).to(self.matrix)
