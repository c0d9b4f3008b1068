"""The diagonal Fisher of a layer with few output positions: products of pairs of positions, without any gradient."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.per_example import position_chunks
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.squares import add_squared_sums


def diagonal_fisher(a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute the diagonal as in `kfc_kernels.diagonal_fisher`."""
    shape = geometry.groups, geometry.group_outputs, geometry.patch_dim
    total = a.new_empty(shape, dtype=accumulation_dtype(a.dtype))
    for index, (patches, vectors) in enumerate(position_chunks(a, g, geometry)):
        add_squared_sums(total, vectors, patches, 1 / a.shape[0], kept=index > 0)
    return store(total.reshape(geometry.grouped(*shape[1:])), out, decay)
