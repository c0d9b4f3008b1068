"""Damped inverses through Cholesky factors, one matrix after another."""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels.damped_inverse import cholesky
from kfc_kernels.damped_inverse.attempt import Attempt


def invert(stack: Tensor, shifts: Tensor, previous: Tensor | None) -> Attempt:
    """Invert as in `kfc_kernels.damped_inverse.damped_inverse`.

    Args:
        stack: ``[b, n, n]``.
        shifts: ``[b]``.
        previous: Not needed.

    Returns:
        The inverses.
    """
    each = [
        cholesky.invert(matrix, shift, previous) for matrix, shift in zip(stack.split(1), shifts.split(1), strict=True)
    ]
    return Attempt(*map(torch.cat, zip(*each, strict=True)))
