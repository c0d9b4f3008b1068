"""The output factor from one product for each example, which takes the vectors as they lie."""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import accumulation_dtype, store


def output_factor(g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute Gamma as in `kfc_kernels.output_factor`."""
    vectors = g.to(accumulation_dtype(g.dtype)).reshape(-1, geometry.group_outputs, geometry.positions)
    products = torch.bmm(vectors, vectors.mT).unflatten(0, (-1, geometry.groups))
    gamma = products.sum(0).div_(g.shape[1] * geometry.positions)
    return store(gamma.reshape(geometry.grouped(*gamma.shape[1:])), out, decay)
