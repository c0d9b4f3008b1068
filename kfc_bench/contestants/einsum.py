"""The plain formulas of the output factors and of the exact Fisher as the einsum that their definition is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kfc_bench.contestants.contestant import Contestant, as_ours, of_reduced_sums, sum_over_all, takes
from kfc_kernels import ConvGeometry
from kfc_kernels.dispatch import takes_anything


def prepare_output_factor(g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:  # noqa: ARG001
    """Return the call of the output factor, for vectors ``[V, N, K, *out]``."""
    positions = g.flatten(3) if g.ndim > 3 else g.unsqueeze(3)
    return lambda: torch.einsum("vnkt,vnlt->kl", positions, positions)


def prepare_reduced(g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:  # noqa: ARG001
    """Return the call of K-FAC-reduce's output factor, for vectors ``[V, N, K, *out]``."""
    positions = g.flatten(3) if g.ndim > 3 else g.unsqueeze(3)

    def run() -> Tensor:
        sums = positions.sum(3)
        return torch.einsum("vnk,vnl->kl", sums, sums)

    return run


def prepare_exact(gradients: Tensor) -> Callable[[], Tensor]:
    """Return the call of the exact Fisher, for gradients ``[V, N, P]``."""
    return lambda: torch.einsum("vnp,vnq->pq", gradients, gradients) / gradients.shape[1]


ANY = takes(axes=(0, 1, 2, 3), bias=True, zeros_only=False, uneven_padding=True)

CONTESTANTS = (
    Contestant("einsum", prepare_output_factor, ANY, sum_over_all, operator="output_factor"),
    Contestant("einsum", prepare_reduced, ANY, of_reduced_sums, operator="reduced_output_factor"),
    Contestant("einsum", prepare_exact, takes_anything, as_ours, operator="exact_fisher"),
)
