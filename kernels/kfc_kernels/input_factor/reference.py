"""The input factor by im2col and one matrix product: what others are checked against."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import extract_patches
from kfc_kernels.results import accumulation_dtype, store


def input_factor(a: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute Omega as in `kfc_kernels.input_factor`."""
    patches = extract_patches(a.to(accumulation_dtype(a.dtype)), geometry).flatten(1, 2)
    omega = patches.mT @ patches / a.shape[0]
    return store(omega.reshape(geometry.grouped(*omega.shape[1:])), out, decay)
