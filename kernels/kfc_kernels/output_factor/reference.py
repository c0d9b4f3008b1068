"""The output factor by one matrix product over all vectors, examples and positions."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import group_gradients
from kfc_kernels.results import accumulation_dtype, store


def output_factor(g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute Gamma as in `kfc_kernels.output_factor`."""
    rows = group_gradients(g.to(accumulation_dtype(g.dtype)), geometry).movedim(3, 1).flatten(2)
    gamma = rows @ rows.mT / (g.shape[1] * geometry.positions)
    return store(gamma.reshape(geometry.grouped(*gamma.shape[1:])), out, decay)
