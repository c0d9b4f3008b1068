"""The diagonal Fisher from materialised per-example gradients."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import example_gradients
from kfc_kernels.results import accumulation_dtype, store


def diagonal_fisher(a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute the diagonal as in `kfc_kernels.diagonal_fisher`."""
    wide = accumulation_dtype(a.dtype)
    squares = example_gradients(a.to(wide), g.to(wide), geometry).square_().sum((1, 2)) / a.shape[0]
    return store(squares.reshape(geometry.grouped(*squares.shape[1:])), out, decay)
