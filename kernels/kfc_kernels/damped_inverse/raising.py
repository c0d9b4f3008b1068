"""More damping for matrices that are not positive definite with what was asked."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from kfc_kernels.damped_inverse.attempt import Attempt, replaced

RAISE = 10
"""By how much a shift grows from one try to the next."""

Invert = Callable[[Tensor, Tensor, Tensor | None], Attempt]


def invert_raising(run: Invert, stack: Tensor, shifts: Tensor, previous: Tensor | None) -> tuple[Attempt, Tensor]:
    """Invert matrices of one size; where one is not positive definite, try again with more damping.

    The next shift is ten times the last, but at least eps times the norm (largest row sum) of M, what rounding may have
    cost. That comes to the norm itself in the end, above which every symmetric matrix is positive definite.

    Args:
        run: An implementation.
        stack: ``[b, n, n]``.
        shifts: ``[b]``.
        previous: Inverses of matrices nearby, ``[b, n, n]``.

    Returns:
        The inverses, and the shifts that each got in the end, ``[b]``.
    """
    attempt, given = run(stack, shifts, previous), shifts
    if _sound(attempt, shifts).all():
        return attempt, shifts
    given, eps = shifts.clone(), torch.finfo(shifts.dtype).eps
    for _ in range(math.ceil(-math.log(eps, RAISE)) + 1):
        failed = (~_sound(attempt, given)).nonzero().squeeze(1)
        if not len(failed):
            break
        norms = torch.linalg.matrix_norm(stack[failed], ord=math.inf)
        given[failed] = torch.maximum(RAISE * given[failed], eps * norms.where(norms > 0, 1.0))
        nearby = None if previous is None else previous[failed]
        replaced(attempt, failed, run(stack[failed], given[failed], nearby))
    return attempt._replace(definite=_sound(attempt, given)), given


def _sound(attempt: Attempt, shifts: Tensor) -> Tensor:
    """Tell which were definite and have a finite inverse and shift, ``[b]``."""
    return attempt.definite & attempt.inverses.isfinite().flatten(1).all(1) & shifts.isfinite()
