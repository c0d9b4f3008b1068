"""The exact Fisher by one product of the per-example gradients."""

from __future__ import annotations

from torch import Tensor

from kfc_kernels.results import accumulation_dtype, store


def exact_fisher(gradients: Tensor, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute F as in `kfc_kernels.exact_fisher`."""
    rows = gradients.to(accumulation_dtype(gradients.dtype)).flatten(0, 1)
    return store(rows.mT @ rows / gradients.shape[1], out, decay)
