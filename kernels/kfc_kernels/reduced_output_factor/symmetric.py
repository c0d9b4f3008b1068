"""The reduced output factor by half of a product of each example's summed gradients."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.symmetric import gram


def reduced_output_factor(g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute the factor as in `kfc_kernels.reduced_output_factor`."""
    vectors = g.to(accumulation_dtype(g.dtype)).reshape(-1, geometry.groups, geometry.group_outputs, geometry.positions)
    factor = gram(vectors.sum(-1).transpose(0, 1), 1 / (g.shape[1] * geometry.positions**2))
    return store(factor.reshape(geometry.grouped(*factor.shape[1:])), out, decay)
