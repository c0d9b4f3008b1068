"""The eigenvalue correction of a layer with one output position: a product of squares of rotated operands."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import extract_patches, group_gradients
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.squares import squared_outer_products


def eigenvalue_correction(
    a: Tensor,
    g: Tensor,
    geometry: ConvGeometry,
    output_basis: Tensor,
    input_basis: Tensor,
    *,
    out: Tensor | None,
    decay: float | None,
) -> Tensor:
    """Compute the correction as in `kfc_kernels.eigenvalue_correction`, where |T| = 1."""
    wide = accumulation_dtype(a.dtype)
    left = output_basis.to(wide).reshape(geometry.groups, geometry.group_outputs, geometry.group_outputs)
    right = input_basis.to(wide).reshape(geometry.groups, geometry.patch_dim, geometry.patch_dim)
    vectors = group_gradients(g.to(wide), geometry).squeeze(-1)
    rotated = (vectors.flatten(1, 2) @ left).unflatten(1, vectors.shape[1:3])
    moments = squared_outer_products(rotated, extract_patches(a.to(wide), geometry).squeeze(2) @ right)
    return store(moments.reshape(geometry.grouped(*moments.shape[1:])), out, decay)
