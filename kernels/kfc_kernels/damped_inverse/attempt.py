"""What an implementation hands back for a stack of matrices of one size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Attempt(NamedTuple):
    """Inverses of a stack, those that failed among them.

    Attributes:
        inverses: ``[b, n, n]``, symmetric; anything where the matrix was not positive definite.
        definite: Which damped matrices were positive definite, ``[b]`` of bool.
        residuals: ``||I - A X||_F / sqrt(n)`` of each, ``[b]``.
        iterations: Of each, ``[b]``.
    """

    inverses: Tensor
    definite: Tensor
    residuals: Tensor
    iterations: Tensor


def direct(inverses: Tensor, definite: Tensor) -> Attempt:
    """Wrap what a direct method found: it measures no residual and iterates not once."""
    unmeasured = torch.full_like(inverses[:, 0, 0], torch.nan)
    return Attempt(inverses, definite, unmeasured, torch.zeros_like(definite, dtype=torch.int64))


def replaced(attempt: Attempt, places: Tensor, again: Attempt) -> Attempt:
    """Put another attempt's results at some places of the stack, in place.

    Args:
        attempt: The stack's.
        places: Which matrices were tried again, ``[c]``.
        again: Theirs.

    Returns:
        ``attempt``.
    """
    for old, new in zip(attempt, again, strict=True):
        old[places] = new
    return attempt


def shifted(stack: Tensor, shifts: Tensor) -> Tensor:
    """Copy a stack ``[b, n, n]`` with shifts ``[b]`` added to the diagonals."""
    damped = stack.clone()
    damped.diagonal(dim1=-2, dim2=-1).add_(shifts.unsqueeze(-1))
    return damped


def identity(stack: Tensor) -> Tensor:
    """Return the identity of the stack's size, ``[n, n]``."""
    return torch.eye(stack.shape[-1], dtype=stack.dtype, device=stack.device)
