"""The gate before the clock: a result is held against float64, and only then timed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SUM_CONSTANT = 1.0
"""c of the gate c * sqrt(terms) * eps: how far a float sum of so many terms may stray, relative to its size."""

ROW_FACTOR = 16.0
"""How much worse the worst row may be than the whole: rows are smaller sums, and a maximum is no mean."""


def relative_error(outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """Return ``||out - ref||_F / ||ref||_F`` over all tensors; infinite if any output is not finite.

    Args:
        outputs: Results.
        reference: The same in float64.

    Returns:
        The relative Frobenius error.
    """
    difference = norm = 0.0
    for output, exact in zip(outputs, reference, strict=True):
        if not bool(output.isfinite().all()):
            return math.inf
        difference += float((output.double() - exact).square().sum())
        norm += float(exact.square().sum())
    return math.sqrt(difference / norm) if norm else math.sqrt(difference)


def worst_row_error(
    outputs: Sequence[Tensor], reference: Sequence[Tensor], sizes: Sequence[Tensor] | None = None
) -> float:
    """Return the largest error of any row in the maximum norm, relative to that row's largest entry.

    An error in one small block hides in the norm of the whole; it does not hide here. Rows under a
    thousandth of the tensor's largest entry are held to that size instead of their own.

    Args:
        outputs: Results.
        reference: The same in float64.
        sizes: What rows are relative to; the reference itself if None.

    Returns:
        The worst relative error; infinite if any output is not finite.
    """
    worst = 0.0
    for output, exact, scale in zip(outputs, reference, sizes or reference, strict=True):
        if exact.numel() == 0:
            continue
        if not bool(output.isfinite().all()):
            return math.inf
        rows = exact.reshape(-1, exact.shape[-1]) if exact.ndim else exact.reshape(1, 1)
        size = scale.reshape(rows.shape).abs().amax(1)
        floor = max(float(size.max()) * 1e-3, torch.finfo(torch.float64).tiny)
        error = (output.double().reshape(rows.shape) - rows).abs().amax(1) / size.clamp_min(floor)
        worst = max(worst, float(error.max()))
    return worst


def error_gate(
    *, terms: int, dtype: torch.dtype, rounding: float, condition: float, plain_error: float | None
) -> float:
    """Return the largest relative error that passes.

    max(4 x the plain computation's own error, (c * sqrt(terms) * eps + rounding of the operands) * condition).

    Args:
        terms: Length of the longest sum, N|T|.
        dtype: In which sums are kept.
        rounding: Relative rounding of the factors of products, `operand_rounding`.
        condition: Condition number by which a result amplifies its input's error; 1 for sums.
        plain_error: Error of the plain computation in the same precision; None where it is the one being judged.

    Returns:
        The gate.
    """
    bound = (SUM_CONSTANT * math.sqrt(terms) * torch.finfo(dtype).eps + rounding) * condition
    return max(bound, 4 * plain_error) if plain_error is not None else bound


def damped_condition(matrix: Tensor, shift: Tensor | float) -> float:
    """Bound the condition number of ``matrix + shift I`` for a positive semidefinite matrix.

    Args:
        matrix: ``[n, n]`` or ``[groups, n, n]``.
        shift: A number or ``[groups]``.

    Returns:
        (largest eigenvalue + shift) / shift, the largest over groups.
    """
    largest = torch.linalg.eigvalsh(matrix)[..., -1] if matrix.shape[-1] <= 512 else torch.linalg.matrix_norm(matrix)
    return float(((largest + shift) / shift).max())
