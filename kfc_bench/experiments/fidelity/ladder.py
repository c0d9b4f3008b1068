"""KFC's assumptions one after the other, as matrices (Lemma 1, Theorem 1), and the best Kronecker product."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kfc_bench.curvature import LayerBatch
from kfc_bench.experiments.fidelity.moments import (
    homogeneous,
    homogeneous_inputs,
    input_moments,
    located,
    output_moments,
)


def independent(inputs: Tensor, outputs: Tensor) -> Tensor:
    """Sum E[a_{t+d} a_{t'+d'}] E[Ds_t Ds_t'] over all pairs of positions (Lemma 1).

    Args:
        inputs: ``[|T|, D, |T|, D]``.
        outputs: ``[|T|, K, |T|, K]``.

    Returns:
        ``[KD, KD]``.
    """
    a, g = (moments.transpose(1, 2).flatten(2).flatten(0, 1) for moments in (inputs, outputs))
    rows, columns = outputs.shape[1], inputs.shape[1]
    products = (g.mT @ a).view(rows, rows, columns, columns)
    return products.transpose(1, 2).reshape(rows * columns, -1)


def uncorrelated(inputs: Tensor, outputs: Tensor) -> Tensor:
    """Take only pairs of a position with itself, and Gamma as their mean (SUD, Eq. 19).

    Args:
        inputs: As for `independent`.
        outputs: Likewise.

    Returns:
        ``[KD, KD]``.
    """
    omega, gamma = (torch.einsum("titj->ij", moments) for moments in (inputs, outputs))
    return torch.kron(gamma / len(outputs), omega)


def ladder(batch: LayerBatch) -> Iterator[tuple[str, Tensor]]:
    """Form what only this experiment has, of one layer.

    Args:
        batch: What the layer saw, one group, its padding zeros.

    Yields:
        Names and ``[KD, KD]``: ``iad``, with moments as they are at each location; ``iad_sh``, the derivatives'
        averaged by displacement, so that KFC is what it leaves where the displacement is 0; ``iad_sh_plugin`` and
        ``kfc_plugin``, the activations' too, which section 3.1 warns of.
    """
    own = input_moments(batch)
    inputs, outputs = located(own, batch.geometry), output_moments(batch)
    by_lag = homogeneous(outputs, batch.geometry.out_size)
    yield "iad", independent(inputs, outputs)
    yield "iad_sh", independent(inputs, by_lag)
    inputs = located(homogeneous_inputs(own, batch.geometry), batch.geometry)
    yield "iad_sh_plugin", independent(inputs, by_lag)
    yield "kfc_plugin", uncorrelated(inputs, outputs)


def nearest_kronecker(block: Tensor, rows: int) -> Tensor:
    """Find the Kronecker product closest to a block in the Frobenius norm (Van Loan & Pitsianis 1993).

    Args:
        block: ``[KD, KD]``.
        rows: K.

    Returns:
        ``[KD, KD]``, of the first singular vectors of the block rearranged to ``[KK, DD]``.
    """
    columns = len(block) // rows
    rearranged = block.view(rows, columns, rows, columns).transpose(1, 2).reshape(rows**2, columns**2)
    left, values, right = torch.linalg.svd(rearranged, full_matrices=False)
    return torch.kron(values[0] * left[:, 0].reshape(rows, rows), right[0].view(columns, columns))
