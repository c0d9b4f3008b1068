"""Factored Tikhonov damping."""

from __future__ import annotations

import math

from torch import Tensor


def factored_tikhonov(omega: Tensor, gamma: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """Split the damping between two Kronecker factors by the trace norm (Eqs. 7-9, 20-21).

    pi = sqrt((tr Omega / D) / (tr Gamma / K)); Omega is shifted by pi sqrt(lambda + gamma), Gamma by
    sqrt(lambda + gamma) / pi. Where a trace is zero, pi is 1.

    Args:
        omega: ``[D, D]`` or ``[groups, D, D]``.
        gamma: ``[K, K]`` or ``[groups, K/groups, K/groups]``.
        damping: lambda + gamma.

    Returns:
        The two shifts, scalars or ``[groups]``.
    """
    return split_damping(mean_eigenvalue(omega), mean_eigenvalue(gamma), damping)


def mean_eigenvalue(matrix: Tensor) -> Tensor:
    """Return tr M / n of ``[..., n, n]``."""
    return matrix.diagonal(dim1=-2, dim2=-1).mean(-1)


def split_damping(input_mean: Tensor, output_mean: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """Split the damping between two factors whose mean eigenvalues are known (Eqs. 8, 9).

    Args:
        input_mean: tr Omega / D, a scalar or ``[groups]``.
        output_mean: tr Gamma / K, likewise.
        damping: lambda + gamma.

    Returns:
        pi sqrt(lambda + gamma) and sqrt(lambda + gamma) / pi; pi is 1 where a trace is zero.
    """
    root = math.sqrt(damping)
    pi = (input_mean / output_mean).sqrt()
    pi = pi.where((input_mean > 0) & (output_mean > 0), pi.new_ones(()))
    return pi * root, root / pi
