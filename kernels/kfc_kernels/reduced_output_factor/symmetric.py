"""The reduced output factor by half of a product of each example's summed gradients."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import group_gradients
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.symmetric import gram


def reduced_output_factor(g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute the factor as in `kfc_kernels.reduced_output_factor`."""
    vectors = group_gradients(g.to(accumulation_dtype(g.dtype)), geometry)
    factor = gram(vectors.sum(-1).flatten(1, 2), 1 / (g.shape[1] * geometry.positions**2))
    return store(factor.reshape(geometry.grouped(*factor.shape[1:])), out, decay)
