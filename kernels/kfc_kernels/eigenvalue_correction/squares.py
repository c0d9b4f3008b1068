"""The eigenvalue correction of a layer with few output positions: products of pairs of rotated ones."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.eigenvalue_correction.rotate import by_group, rotate
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.per_example import position_chunks
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.squares import add_squared_sums


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
    """Compute the correction as in `kfc_kernels.eigenvalue_correction`, where output positions are few."""
    wide = accumulation_dtype(a.dtype)
    shape = geometry.groups, geometry.group_outputs, geometry.patch_dim
    left, right = by_group(geometry, output_basis, input_basis, wide)
    total = a.new_empty(shape, dtype=wide)
    for index, (patches, vectors) in enumerate(position_chunks(a, g, geometry)):
        add_squared_sums(total, rotate(vectors, left), rotate(patches, right), 1 / a.shape[0], kept=index > 0)
    return store(total.reshape(geometry.grouped(*shape[1:])), out, decay)
