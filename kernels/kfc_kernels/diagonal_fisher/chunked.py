"""The diagonal Fisher from a few examples' gradients at a time, which stay in the cache until they are squared."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.per_example import CHUNK_BYTES, weight_gradients
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.squares import add_squares


def diagonal_fisher(a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute the diagonal as in `kfc_kernels.diagonal_fisher`, in memory that does not grow with the batch."""
    shape = geometry.groups, geometry.group_outputs, geometry.patch_dim
    total = a.new_zeros(shape, dtype=accumulation_dtype(a.dtype))
    for weights, vectors in weight_gradients(a, g, geometry, CHUNK_BYTES):
        add_squares(total[..., : weights.shape[-1]], weights)
        if geometry.bias:
            total[..., -1] += vectors.sum(-1).square_().sum(0)
    total /= a.shape[0]
    return store(total.reshape(geometry.grouped(*shape[1:])), out, decay)
