"""The output factor by half of a product for each few examples, laid out in the cache."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import group_gradients
from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.symmetric import symmetric_sum

# Bytes of vectors that are multiplied together.
CHUNK_BYTES = 2**20


def position_rows(g: Tensor, geometry: ConvGeometry) -> Iterator[Tensor]:
    """Lay vectors out by output, those of a few examples at a time.

    Args:
        g: ``[V, N, K, *out]``.
        geometry: The layer.

    Yields:
        ``[groups, V*n*|T|, K/groups]``.
    """
    wide = accumulation_dtype(g.dtype)
    examples = max(1, CHUNK_BYTES * g.shape[1] // (g.numel() * wide.itemsize))
    for vectors in g.split(examples, dim=1):
        yield group_gradients(vectors.to(wide), geometry).movedim(3, 1).flatten(2).mT


def output_factor(g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute Gamma as in `kfc_kernels.output_factor`."""
    scale = 1 / (g.shape[1] * geometry.positions)
    gamma = symmetric_sum(((rows, rows) for rows in position_rows(g, geometry)), scale)
    return store(gamma.reshape(geometry.grouped(*gamma.shape[1:])), out, decay)
