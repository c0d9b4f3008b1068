"""The exact Fisher by the half of one product of the per-example gradients."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.results import accumulation_dtype, store
from kfc_kernels.symmetric import gram


def exact_fisher(gradients: Tensor, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute F as in `kfc_kernels.exact_fisher`."""
    rows = gradients.to(accumulation_dtype(gradients.dtype)).flatten(0, 1)
    return store(gram(rows.unsqueeze(0), 1 / gradients.shape[1]).squeeze(0), out, decay)
