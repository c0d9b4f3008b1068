"""Inverses of damped factors and blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kfc_kernels.damped_inverse.raising import invert_raising
from kfc_kernels.dispatch import Case, Implementation, Operator
from kfc_kernels.precision import multiplying


def declines_half(case: Case) -> str | None:
    """Decline 16-bit matrices, of which no inverse is worth having."""
    if case.dtype.itemsize < 4:
        return f"takes float32 and float64, not {str(case.dtype).removeprefix('torch.')}"
    return None


OPERATOR = Operator(
    "damped_inverse",
    tuple(
        Implementation(name, f"kfc_kernels.damped_inverse.{name}", "invert", declines_half)
        for name in ("cholesky", "reference", "eigendecomposition", "newton")
    ),
)


class NotInvertibleError(ValueError):
    """A matrix or its shift holds values that are not finite, or too large to invert."""


class DampedInverses(NamedTuple):
    """What became of a list of matrices.

    Attributes:
        inverses: Symmetric, in the order and shapes of the matrices.
        shifts: What each was damped with in the end: a scalar, or ``[groups]``.
        raised: How many matrices, groups counted apart, were damped with more than was asked.
        residuals: ``||I - A X||_F / sqrt(n)`` of each, shaped as the shifts; NaN of a direct method.
        iterations: Of each, shaped as the shifts; 0 of a direct method.
    """

    inverses: list[Tensor]
    shifts: list[Tensor]
    raised: int
    residuals: list[Tensor]
    iterations: list[Tensor]


def damped_inverse(
    matrices: Sequence[Tensor],
    shifts: Sequence[Tensor | float],
    *,
    previous: Sequence[Tensor] | None = None,
    implementation: str = "auto",
) -> DampedInverses:
    """Compute (M + s I)^-1 of each matrix (Eq. 21; s = pi sqrt(lambda + gamma) for Omega).

    Matrices of one size, groups included, are inverted together. A matrix that is not positive definite after its shift
    is damped with more: ten times its shift, or rounding relative to its norm where that is more, and so on.

    Args:
        matrices: Symmetric positive semidefinite, each ``[n, n]`` or ``[groups, n, n]``, sizes unlike.
        shifts: One per matrix: a number or ``[groups]``, at least 0.
        previous: Inverses of matrices nearby, such as those of the last refresh, shaped as ``matrices``; what
            iterates starts from them.
        implementation: ``"cholesky"``, ``"reference"`` (the same, one matrix after another), ``"eigendecomposition"``
            (reads eigenvalues below zero as zero), ``"newton"`` (matrix products only), or ``"auto"``.

    Returns:
        The inverses, and how they came about.

    Raises:
        UnsupportedError: The implementation is unknown.
        NotInvertibleError: A matrix or shift is not finite, or too large; the message says which.
        ValueError: The lists differ in length, a matrix is not square, a shift is not one per group, or a previous
            inverse has another shape than its matrix.
    """
    if len(matrices) != len(shifts):
        raise ValueError(f"{len(matrices)} matrices but {len(shifts)} shifts")
    if previous is not None and [matrix.shape for matrix in matrices] != [inverse.shape for inverse in previous]:
        raise ValueError("previous inverses need the shapes of the matrices, one of each")
    asked = [_shift(index, *pair) for index, pair in enumerate(zip(matrices, shifts, strict=True))]
    alike: dict[tuple[int, torch.dtype, torch.device], list[int]] = {}
    for index, matrix in enumerate(matrices):
        alike.setdefault((matrix.shape[-1], matrix.dtype, matrix.device), []).append(index)
    found: dict[int, list[Tensor]] = {}
    raised = 0
    for (size, dtype, device), places in alike.items():
        run = OPERATOR.choose(implementation, Case(None, dtype, device))
        stack = _stacked([matrices[index] for index in places])
        wanted = torch.cat([asked[index].reshape(-1) for index in places])
        if not bool(stack.isfinite().all() & wanted.isfinite().all()):
            raise NotInvertibleError(_not_finite(places, matrices))
        nearby = None if previous is None else _stacked([previous[index] for index in places])
        # Inverses amplify what TF32 rounds, beyond what residuals may be.
        with multiplying("ieee"):
            attempt, given = invert_raising(run, stack, wanted, nearby)
        if given is not wanted:
            if not attempt.definite.all():
                raise NotInvertibleError(f"a matrix of size {size} holds values that are too large to invert")
            raised += int((given != wanted).sum())
        counts = [asked[index].numel() for index in places]
        for column in (attempt.inverses, given, attempt.residuals, attempt.iterations):
            for index, part in zip(places, column.split(counts), strict=True):
                found.setdefault(index, []).append(part.reshape(asked[index].shape + part.shape[1:]))
    inverses, used, residuals, iterations = (
        [found[index][column] for index in range(len(matrices))] for column in range(4)
    )
    return DampedInverses(inverses, used, raised, residuals, iterations)


def _shift(index: int, matrix: Tensor, shift: Tensor | float) -> Tensor:
    if matrix.ndim not in (2, 3) or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"matrix {index} has shape {list(matrix.shape)}, which is not square")
    added = torch.as_tensor(shift, dtype=matrix.dtype, device=matrix.device)
    if added.ndim and added.shape != matrix.shape[:-2]:
        raise ValueError(
            f"shift {index} has shape {list(added.shape)}, but matrix {index} has shape {list(matrix.shape)}"
        )
    return added.expand(matrix.shape[:-2])


def _stacked(matrices: Sequence[Tensor]) -> Tensor:
    """Put matrices of one size, groups included, into one stack ``[b, n, n]``; a single one is not copied."""
    each = [matrix.reshape(-1, *matrix.shape[-2:]) for matrix in matrices]
    return torch.cat(each) if len(each) > 1 else each[0]


def _not_finite(places: Sequence[int], matrices: Sequence[Tensor]) -> str:
    culprits = [f"matrix {index}" for index in places if not matrices[index].isfinite().all()]
    size = matrices[places[0]].shape[-1]
    return f"{', '.join(culprits) or 'a shift'} of size {size} holds values that are not finite"
