"""The reduced input factor from the summed patches of each example."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import extract_patches
from kfc_kernels.results import accumulation_dtype, store


def reduced_input_factor(a: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute the factor as in `kfc_kernels.reduced_input_factor`."""
    sums = extract_patches(a.to(accumulation_dtype(a.dtype)), geometry).sum(2)
    factor = sums.mT @ sums / a.shape[0]
    return store(factor.reshape(geometry.grouped(*factor.shape[1:])), out, decay)
