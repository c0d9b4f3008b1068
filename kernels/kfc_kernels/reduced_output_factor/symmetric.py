"""The reduced output factor by half of a product of each example's summed gradients."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.symmetric import gram

# Positions from which on a product with ones sums faster than a sum.
POSITIONS_OF_A_PRODUCT = 2**9


def reduced_output_factor(g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute the factor as in `kfc_kernels.reduced_output_factor`."""
    positions = geometry.positions
    vectors = g.to(accumulation_dtype(g.dtype)).reshape(-1, positions)
    sums = vectors.sum(1) if positions < POSITIONS_OF_A_PRODUCT else vectors.mv(vectors.new_ones(positions))
    rows = sums.view(-1, geometry.groups, geometry.group_outputs).transpose(0, 1)
    factor = gram(rows, 1 / (g.shape[1] * positions**2))
    return store(factor.reshape(geometry.grouped(*factor.shape[1:])), out, decay)
