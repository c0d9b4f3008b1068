"""Damped inverses through Cholesky factors, a whole stack in one call."""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels.damped_inverse.attempt import Attempt, direct, identity, shifted


def invert(stack: Tensor, shifts: Tensor, previous: Tensor | None) -> Attempt:  # noqa: ARG001
    """Invert as in `kfc_kernels.damped_inverse.damped_inverse`.

    Args:
        stack: ``[b, n, n]``.
        shifts: ``[b]``.
        previous: Not needed.

    Returns:
        The inverses.
    """
    factors, failures = torch.linalg.cholesky_ex(shifted(stack, shifts))
    definite = failures == 0
    torch.where(definite.reshape(-1, 1, 1), factors, identity(stack), out=factors)
    return direct(torch.cholesky_inverse(factors), definite)
