"""Inverses of damped factors and blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator

OPERATOR = Operator(
    "damped_inverse",
    (
        Implementation("reference", "kfc_kernels.damped_inverse.reference", "cholesky"),
        Implementation("eigendecomposition", "kfc_kernels.damped_inverse.reference", "eigendecomposition"),
    ),
)


class NotPositiveDefiniteError(ValueError):
    """A matrix is not positive definite after its shift, or holds values that are not finite."""


def damped_inverse(
    matrices: Sequence[Tensor], shifts: Sequence[Tensor | float], *, implementation: str = "auto"
) -> list[Tensor]:
    """Compute (M + s I)^-1 of each matrix (Eq. 21; s = pi sqrt(lambda + gamma) for Omega).

    Args:
        matrices: Symmetric positive semidefinite, each ``[n, n]`` or ``[groups, n, n]``, sizes unlike.
        shifts: One per matrix: a number or ``[groups]``, at least 0.
        implementation: ``"reference"`` (Cholesky), ``"eigendecomposition"``, or ``"auto"``.

    Returns:
        The inverses, symmetric, in the order and shapes of ``matrices``.

    Raises:
        UnsupportedError: The implementation is unknown.
        NotPositiveDefiniteError: A damped matrix is not positive definite; the message says which.
        ValueError: The lists differ in length, a matrix is not square, or a shift is not one per group.
    """
    if len(matrices) != len(shifts):
        raise ValueError(f"{len(matrices)} matrices but {len(shifts)} shifts")
    inverses = []
    for index, (matrix, shift) in enumerate(zip(matrices, shifts, strict=True)):
        if matrix.ndim not in (2, 3) or matrix.shape[-1] != matrix.shape[-2]:
            raise ValueError(f"matrix {index} has shape {list(matrix.shape)}, which is not square")
        run = OPERATOR.choose(implementation, Case(None, matrix.dtype, matrix.device))
        added = torch.as_tensor(shift, dtype=matrix.dtype, device=matrix.device)
        if added.ndim and added.shape != matrix.shape[:-2]:
            raise ValueError(
                f"shift {index} has shape {list(added.shape)}, but matrix {index} has shape {list(matrix.shape)}"
            )
        try:
            inverses.append(run(matrix, added.reshape(-1, 1) if added.ndim else added))
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise NotPositiveDefiniteError(
                f"matrix {index} of size {matrix.shape[-1]} is not positive definite after its shift: {error}"
            ) from None
    return inverses
