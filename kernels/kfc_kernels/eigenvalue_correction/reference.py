"""The eigenvalue correction from materialised per-example gradients."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import example_gradients
from kfc_kernels.results import accumulation_dtype, store


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
    """Compute the correction as in `kfc_kernels.eigenvalue_correction`."""
    wide = accumulation_dtype(a.dtype)
    left = output_basis.to(wide).reshape(geometry.groups, 1, 1, geometry.group_outputs, geometry.group_outputs)
    right = input_basis.to(wide).reshape(geometry.groups, 1, 1, geometry.patch_dim, geometry.patch_dim)
    rotated = left.mT @ example_gradients(a.to(wide), g.to(wide), geometry) @ right
    moments = rotated.square_().sum((1, 2)) / a.shape[0]
    return store(moments.reshape(geometry.grouped(*moments.shape[1:])), out, decay)
