"""Damped inverses through eigenvalues, a whole stack in one call."""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels.damped_inverse.attempt import Attempt, direct


def invert(stack: Tensor, shifts: Tensor, previous: Tensor | None) -> Attempt:  # noqa: ARG001
    """Invert as in `kfc_kernels.damped_inverse.damped_inverse`, eigenvalues below zero (by rounding) read as zero.

    Args:
        stack: ``[b, n, n]``.
        shifts: ``[b]``.
        previous: Not needed.

    Returns:
        The inverses; not definite are those whose smallest eigenvalue and shift are both zero.
    """
    values, vectors = torch.linalg.eigh(stack)
    damped = values.clamp_min(0) + shifts.unsqueeze(-1)
    return direct(vectors / damped.unsqueeze(-2) @ vectors.mT, (damped > 0).all(-1))
