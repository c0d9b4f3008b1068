"""More damping for matrices that are not positive definite with what was asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kfc_kernels.damped_inverse.attempt import Attempt, replaced

RAISE = 10
"""By how much a shift grows from one try to the next."""

Invert = Callable[[Tensor, Tensor, Tensor | None], Attempt]


def stacked(matrices: Sequence[Tensor]) -> Tensor:
    """Copy matrices of one size, groups included, into one stack ``[b, n, n]``."""
    return torch.cat([matrix.reshape(-1, *matrix.shape[-2:]) for matrix in matrices])


def invert_raising(
    run: Invert, matrices: Sequence[Tensor], shifts: Tensor, previous: Tensor | None
) -> tuple[Attempt, Tensor]:
    """Invert matrices of one size; where one is not positive definite, try again with more damping.

    The next shift is ten times the last, but at least eps times the norm (largest row sum) of M, what rounding may have
    cost. That comes to the norm itself in the end, above which every symmetric matrix is positive definite.

    Args:
        run: An implementation.
        matrices: Each ``[n, n]`` or ``[groups, n, n]``.
        shifts: ``[b]``, groups counted apart.
        previous: Inverses of matrices nearby, ``[b, n, n]``.

    Returns:
        The inverses, and the shifts that each got in the end, ``[b]``.
    """
    attempt, given = _finite(run(stacked(matrices), shifts, previous), shifts), shifts.clone()
    eps = torch.finfo(shifts.dtype).eps
    for _ in range(math.ceil(-math.log(eps, RAISE)) + 1):
        failed = (~attempt.definite).nonzero().squeeze(1)
        if not len(failed):
            break
        stack = stacked(matrices)[failed]
        norms = torch.linalg.matrix_norm(stack, ord=math.inf)
        floor = eps * norms.where(norms > 0, 1.0)
        given[failed] = torch.maximum(RAISE * given[failed], floor)
        nearby = None if previous is None else previous[failed]
        replaced(attempt, failed, _finite(run(stack, given[failed], nearby), given[failed]))
    return attempt, given


def _finite(attempt: Attempt, shifts: Tensor) -> Attempt:
    """Take an inverse or a shift that is not finite for a failure."""
    finite = attempt.inverses.isfinite().flatten(1).all(1) & shifts.isfinite()
    return attempt._replace(definite=attempt.definite & finite)
