"""What two eigendecompositions of the same factors must agree in: eigenvectors have no sign, nor any one place."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from kfc_bench.curvature.kfc_eigen import KFCEigen
from kfc_kernels import ConvGeometry

POWERS = 3
"""Moments are of the eigenvalues' powers 0, 1 and 2."""

GROWTH = 4.0
"""An eigendecomposition may be off by so many times what a sum as long as its factor is; a half has been seen."""


def equivalent_terms(layers: Iterable[ConvGeometry]) -> int:
    """Return the length of a sum whose error an eigendecomposition of the layers' factors may have."""
    return int(GROWTH**2 * max(max(layer.patch_dim, layer.group_outputs) for layer in layers))


def exact_condition(approximation: KFCEigen) -> float:
    """Return the largest condition number among the layers' blocks, damped in their eigenbasis."""
    largest = max(
        float([*inverses, *statistics[2:]][2].max())
        for statistics, inverses in zip(approximation.statistics, approximation.inverses, strict=True)
        if statistics
    )
    return 1 + largest / approximation.damping


def decomposed(approximation: KFCEigen) -> list[Tensor]:
    """Return what an approximation's bases and its diagonal in them come to, in float64.

    Per layer the two factors, put together again from the bases, and the diagonal's moments: S in the eigenbasis of
    Omega and Gamma has sum S_kd gamma_k^a omega_d^b = tr F (Omega^b (x) Gamma^a), whichever basis was found where
    eigenvalues are close, and whatever its signs.

    Args:
        approximation: KFC with exact damping or EKFAC, after `refresh` or, for EKFAC, `observe`.

    Returns:
        Three tensors per layer that took part.
    """
    results: list[Tensor] = []
    for statistics, inverses in zip(approximation.statistics, approximation.inverses, strict=True):
        if not statistics:
            continue
        input_basis, output_basis, diagonal = (tensor.double() for tensor in (*inverses, *statistics[2:]))
        omega, omegas = _rebuilt(statistics[0].double(), input_basis)
        gamma, gammas = _rebuilt(statistics[1].double(), output_basis)
        results += [omega, gamma, _powers(gammas) @ diagonal @ _powers(omegas).mT]
    return results


def _rebuilt(factor: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q diag(Q^T F Q) Q^T, which is F where Q is orthogonal and diagonalises it, and that diagonal."""
    values = ((basis.mT @ factor) * basis.mT).sum(-1)
    return (basis * values.unsqueeze(-2)) @ basis.mT, values


def _powers(values: Tensor) -> Tensor:
    """Return powers of eigenvalues relative to the largest, ``[..., POWERS, n]``."""
    relative = values / values.amax(-1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    return torch.stack([relative**power for power in range(POWERS)], -2)
