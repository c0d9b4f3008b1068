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
    root = math.sqrt(damping)
    input_mean = omega.diagonal(dim1=-2, dim2=-1).mean(-1)
    output_mean = gamma.diagonal(dim1=-2, dim2=-1).mean(-1)
    pi = (input_mean / output_mean).sqrt()
    pi = pi.where((input_mean > 0) & (output_mean > 0), pi.new_ones(()))
    return pi * root, root / pi
