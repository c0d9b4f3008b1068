"""The plain formulas that hold every example's own weight gradient, made by im2col and an einsum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kfc_bench.contestants.columns import unfolded
from kfc_bench.contestants.contestant import Contestant, takes
from kfc_kernels import ConvGeometry


def gradients(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Tensor:
    """Form the gradients.

    Args:
        a: ``[N, C, *in]``, of at most two axes.
        g: ``[1, N, K, *out]``.
        geometry: The layer.

    Returns:
        ``[N, K, D]``.
    """
    return torch.einsum("nkt,ndt->nkd", g[0].reshape(*g.shape[1:3], -1), unfolded(a, geometry))


def prepare_diagonal(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the diagonal, for an input ``[N, C, *in]`` and vectors ``[1, N, K, *out]``."""
    return lambda: gradients(a, g, geometry).square_().mean(0)


def prepare_block(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the layer's block, for the same arguments."""

    def run() -> Tensor:
        rows = gradients(a, g, geometry).flatten(1)
        return rows.mT @ rows / len(rows)

    return run


def prepare_mini_blocks(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the mini-blocks, for the same arguments."""

    def run() -> Tensor:
        rows = gradients(a, g, geometry)
        if geometry.kernel_elements == 1:
            return torch.einsum("nki,nkj->ij", rows, rows) / (len(rows) * geometry.out_channels)
        kernels = rows[..., : geometry.patch_dim - geometry.bias].unflatten(-1, (geometry.in_channels, -1))
        return torch.einsum("nkci,nkcj->kcij", kernels, kernels) / len(rows)

    return run


def prepare_correction(
    a: Tensor, g: Tensor, geometry: ConvGeometry, output_basis: Tensor, input_basis: Tensor
) -> Callable[[], Tensor]:
    """Return the call of EKFAC's correction, for the same arguments and the eigenvectors."""
    return lambda: (output_basis.mT @ gradients(a, g, geometry) @ input_basis).square_().mean(0)


CONTESTANTS = tuple(
    Contestant("per_example_gradients", prepare, takes(axes=(0, 1, 2), bias=True), operator=operator)
    for operator, prepare in (
        ("diagonal_fisher", prepare_diagonal),
        ("block_fisher", prepare_block),
        ("mini_block_fisher", prepare_mini_blocks),
        ("eigenvalue_correction", prepare_correction),
    )
)
