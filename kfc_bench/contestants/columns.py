"""im2col by torch's own ``unfold``, for the plain formulas of other operators than the input factor."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kfc_kernels import ConvGeometry


def _pair(values: tuple[int, ...], fill: int) -> tuple[int, ...]:
    """Add axes to ``values`` until there are two."""
    return (*values, *(fill,) * (2 - len(values)))


def unfolded(a: Tensor, geometry: ConvGeometry) -> Tensor:
    """Expand a layer's input to one column per position.

    Args:
        a: ``[N, C, *in]``, of at most two axes.
        geometry: A layer without groups, padded with zeros alike on both sides of an axis.

    Returns:
        ``[N, D, |T|]``, a bias's row of ones last.
    """
    columns = functional.unfold(
        a.reshape(*a.shape[:2], *_pair(geometry.in_size, 1)),
        _pair(geometry.kernel, 1),
        dilation=_pair(geometry.dilation, 1),
        padding=_pair(tuple(before for before, _ in geometry.padding), 0),
        stride=_pair(geometry.stride, 1),
    )
    return torch.cat([columns, columns.new_ones(len(a), 1, geometry.positions)], 1) if geometry.bias else columns
