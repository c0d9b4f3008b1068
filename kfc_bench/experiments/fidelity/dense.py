"""The approximations that the suite ships, as the matrices that they stand for, read off their statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from kfc_bench.curvature import APPROXIMATIONS, LayerBatch
from kfc_bench.curvature.approximation import Approximation
from kfc_bench.curvature.ekfac import EKFAC
from kfc_bench.curvature.sua import SUA
from kfc_kernels import ConvGeometry

Dense = Callable[[Any, int, ConvGeometry], Tensor]
"""Takes an approximation that has observed a batch, the place of a layer and its geometry; returns ``[KD, KD]``."""


def _kronecker(found: Approximation[LayerBatch], index: int, _: ConvGeometry) -> Tensor:
    """Omega (x) Gamma (Eq. 19), in the order of row-major ``[K, D]``."""
    omega, gamma = found.statistics[index]
    return torch.kron(gamma, omega)


def _ekfac(found: EKFAC, index: int, _: ConvGeometry) -> Tensor:
    """(Q_K (x) Q_D) diag(S) (Q_K (x) Q_D)^T, S as the first batch has it, in that batch's bases."""
    input_basis, output_basis = found.inverses[index]
    basis = torch.kron(output_basis.contiguous(), input_basis.contiguous())
    return basis * found.statistics[index][2].flatten() @ basis.mT


def _by_channel(found: SUA, index: int, geometry: ConvGeometry) -> Tensor:
    """Put Sigma (x) I + mu mu^T (x) 11^T together from its blocks along and across the unit vector 1/sqrt(k)."""
    along, across = found.omega(index)
    channels, elements = len(across), geometry.kernel_elements
    unit = along.new_full((elements, 1), 1 / math.sqrt(elements))
    rest = torch.eye(elements).to(along) - unit @ unit.mT
    weights = torch.kron(along[:channels, :channels], unit @ unit.mT) + torch.kron(across, rest)
    if not geometry.bias:
        return weights
    edge = torch.kron(along[:channels, channels:], unit)
    return torch.cat([torch.cat([weights, edge], 1), torch.cat([edge.mT, along[channels:, channels:]], 1)])


def _sua(found: SUA, index: int, geometry: ConvGeometry) -> Tensor:
    """KFC's Gamma beside the factor of channels, times the number of positions."""
    return torch.kron(found.statistics[index][1], _by_channel(found, index, geometry))


def _prong(found: SUA, index: int, geometry: ConvGeometry) -> Tensor:
    """The identity beside the factor of channels per position: what its class damps and inverts."""
    omega = _by_channel(found, index, geometry)
    return torch.kron(torch.eye(geometry.out_channels).to(omega), omega)


def _mini_block(found: Approximation[LayerBatch], index: int, geometry: ConvGeometry) -> Tensor:
    """A block per kernel and a diagonal of biases; for a 1x1 layer one block for all outputs."""
    blocks, *biases = found.statistics[index]
    if geometry.kernel_elements == 1:
        return torch.kron(torch.eye(geometry.out_channels).to(blocks), blocks)
    rows = [
        part
        for output in range(geometry.out_channels)
        for part in (*blocks[output], *(bias[output].view(1, 1) for bias in biases))
    ]
    return torch.block_diag(*rows)


def _diagonal(found: Approximation[LayerBatch], index: int, _: ConvGeometry) -> Tensor:
    return found.statistics[index][0].flatten().diag()


def _block(found: Approximation[LayerBatch], index: int, _: ConvGeometry) -> Tensor:
    return found.statistics[index][0]


DENSE: dict[str, Dense] = {
    "kfc": _kronecker,
    "kfc_reduce": _kronecker,
    "ekfac": _ekfac,
    "sua": _sua,
    "prong": _prong,
    "mini_block": _mini_block,
    "diagonal": _diagonal,
    "block_diagonal": _block,
}
"""By key of `APPROXIMATIONS`."""


def dense_blocks(name: str, batches: Sequence[LayerBatch]) -> list[Tensor]:
    """Let an approximation observe one batch, and write out the matrix of each layer.

    Args:
        name: A key of `DENSE`.
        batches: What each layer saw, of one group each.

    Returns:
        Per layer ``[KD, KD]``, undamped.
    """
    # The statistics know of no damping; a class takes none but positive ones.
    found = APPROXIMATIONS[name](damping=1.0)
    found.observe(batches)
    return [DENSE[name](found, index, batch.geometry) for index, batch in enumerate(batches)]
