"""The reduced input factor from patches that are summed, never formed."""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels import triton_patch_sums, triton_symmetric
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import accumulate
from kfc_kernels.triton_launch import Ahead


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launches for a contiguous input, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the input.
        target: The architecture; all have the same launches.

    Returns:
        The launch that sums patches, then as `kfc_kernels.triton_symmetric.ahead_of_time`.
    """
    products = triton_symmetric.ahead_of_time(geometry.patch_dim, torch.float32, channels_inner=True)
    return [*triton_patch_sums.ahead_of_time(geometry, dtype), *products]


def reduced_input_factor(a: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return the factor as `kfc_kernels.reduced_input_factor` does."""
    sums = triton_patch_sums.patch_sums(a, geometry, operator="reduced_input_factor").unsqueeze(-1)

    def write(factor: Tensor, kept: float) -> None:
        scale = (1 - kept) / a.shape[0]
        triton_symmetric.symmetric_product(sums, factor, operator="reduced_input_factor", scale=scale, kept=kept)

    patch = geometry.patch_dim
    return accumulate(write, geometry.grouped(patch, patch), a.device, out, decay)
