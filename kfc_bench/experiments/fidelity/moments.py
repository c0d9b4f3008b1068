"""Second moments of activations and derivatives at every pair of locations, as the sample has them or homogeneous."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kfc_bench.curvature import LayerBatch
from kfc_kernels import ConvGeometry
from kfc_kernels.patches import extract_patches

ZERO, ONE = 0, 1
"""Places of the padding and of the homogeneous coordinate, before a map's own pixels."""


def input_moments(batch: LayerBatch) -> Tensor:
    """Compute E[a a'] of all that a patch can see, as the sample has it.

    Args:
        batch: What the layer saw, one group.

    Returns:
        ``[2 + C U, 2 + C U]``, U pixels: the padding's 0, the coordinate 1, then the input ``[C, *in]``, flat.
    """
    pixels = batch.inputs.flatten(1)
    edge = pixels.new_tensor([0.0, 1.0]).expand(len(pixels), -1)
    rows = torch.cat([edge, pixels], dim=1)
    return rows.mT @ rows / len(rows)


def homogeneous_inputs(moments: Tensor, geometry: ConvGeometry) -> Tensor:
    """Replace pixels' moments by M(j) and Omega(j, j', lag) of Eqs. 13 and 14; the padding stays zero.

    Args:
        moments: Of `input_moments`.
        geometry: The layer.

    Returns:
        Likewise.
    """
    channels, pixels = geometry.in_channels, math.prod(geometry.in_size)
    found = moments.clone()
    own = moments[2:, 2:].view(channels, pixels, channels, pixels).permute(1, 0, 3, 2)
    found[2:, 2:] = homogeneous(own, geometry.in_size).permute(1, 0, 3, 2).reshape(channels * pixels, -1)
    mean = moments[ONE, 2:].view(channels, pixels).mean(1).repeat_interleave(pixels)
    found[ONE, 2:], found[2:, ONE] = mean, mean
    return found


def located(moments: Tensor, geometry: ConvGeometry) -> Tensor:
    """Arrange the moments of inputs by position and patch element.

    Args:
        moments: Of `input_moments` or `homogeneous_inputs`.
        geometry: The layer.

    Returns:
        E[a_{t+d} a_{t'+d'}], ``[|T|, D, |T|, D]``.
    """
    places = torch.arange(2, len(moments), dtype=torch.float64).view(1, geometry.in_channels, *geometry.in_size)
    # A patch of places: zeros where the padding is, a one as homogeneous coordinate.
    seen = extract_patches(places, geometry)[0, 0].long().to(moments.device)
    return moments[seen.flatten()][:, seen.flatten()].view(*seen.shape, *seen.shape)


def output_moments(batch: LayerBatch) -> Tensor:
    """Compute E[Ds_t Ds_t'] as the sample has it.

    Args:
        batch: What the layer saw, one group.

    Returns:
        ``[|T|, K, |T|, K]``.
    """
    vectors = batch.output_gradients.reshape(-1, batch.geometry.out_channels, batch.geometry.positions).mT
    rows = vectors.flatten(1)
    moments = rows.mT @ rows / len(batch.inputs)
    return moments.view(*vectors.shape[1:], *vectors.shape[1:])


def homogeneous(moments: Tensor, size: Sequence[int]) -> Tensor:
    """Average the moments of all pairs of locations that are equally displaced (SH, Eqs. 14 and 15).

    Args:
        moments: ``[U, C, U, C]``.
        size: The map's, U locations.

    Returns:
        Likewise.
    """
    locations, channels = moments.shape[:2]
    lag = _displacements(size).to(moments.device)
    pairs = moments.transpose(1, 2).reshape(locations**2, channels**2)
    count = torch.bincount(lag)
    sums = pairs.new_zeros(len(count), channels**2).index_add_(0, lag, pairs)
    means = sums / count.clamp_min(1).unsqueeze(1)
    return means[lag].view(locations, locations, channels, channels).transpose(1, 2)


def _displacements(size: Sequence[int]) -> Tensor:
    """Number the displacement of each pair of a map's locations, ``[U U]``: in digits of the base 2 extent - 1."""
    number = torch.zeros(1, dtype=torch.long)
    for extent in size:
        number = (number.unsqueeze(1) * (2 * extent - 1) + torch.arange(extent)).flatten()
    differences = (number - number.unsqueeze(1)).flatten()
    return differences - differences.min()
