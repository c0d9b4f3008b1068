"""The diagonal Fisher of a layer with one output position: a product of squares, without any gradient."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import extract_patches, group_gradients
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.squares import squared_outer_products


def diagonal_fisher(a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute the diagonal as in `kfc_kernels.diagonal_fisher`, where |T| = 1."""
    wide = accumulation_dtype(a.dtype)
    vectors = group_gradients(g.to(wide), geometry).squeeze(-1)
    total = squared_outer_products(vectors, extract_patches(a.to(wide), geometry).squeeze(2))
    return store(total.reshape(geometry.grouped(*total.shape[1:])), out, decay)
