"""The reduced output factor from backpropagated vectors that are summed over positions, as 1x1 patches are."""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels import triton_patch_sums, triton_symmetric
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import accumulate
from kfc_kernels.triton_launch import Ahead


def as_input(geometry: ConvGeometry) -> ConvGeometry:
    """Return the 1x1 layer whose input is this layer's output."""
    return ConvGeometry.conv(geometry.out_channels, geometry.out_channels, geometry.out_size, 1, groups=geometry.groups)


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launches for contiguous vectors, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the vectors.
        target: The architecture; all have the same launches.

    Returns:
        The launch that sums over positions, then as `kfc_kernels.triton_symmetric.ahead_of_time`.
    """
    products = triton_symmetric.ahead_of_time(geometry.group_outputs, torch.float32, channels_inner=True)
    return [*triton_patch_sums.ahead_of_time(as_input(geometry), dtype), *products]


def reduced_output_factor(g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return the factor as `kfc_kernels.reduced_output_factor` does."""
    maps = g.flatten(0, 1)
    sums = triton_patch_sums.patch_sums(maps, as_input(geometry), operator="reduced_output_factor").unsqueeze(-1)
    terms = g.shape[1] * geometry.positions**2

    def write(factor: Tensor, kept: float) -> None:
        scale = (1 - kept) / terms
        triton_symmetric.symmetric_product(sums, factor, operator="reduced_output_factor", scale=scale, kept=kept)

    outputs = geometry.group_outputs
    return accumulate(write, geometry.grouped(outputs, outputs), g.device, out, decay)
