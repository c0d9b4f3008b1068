"""The output factor as a symmetric product of the backpropagated vectors where they lie."""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels import triton_symmetric
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import group_gradients
from kfc_kernels.results import accumulate
from kfc_kernels.triton_launch import Ahead


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launches for contiguous vectors, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the vectors.
        target: The architecture; all have the same launches.

    Returns:
        As `kfc_kernels.triton_symmetric.ahead_of_time`.
    """
    return triton_symmetric.ahead_of_time(geometry.group_outputs, dtype, channels_inner=geometry.positions == 1)


def output_factor(g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return Gamma as `kfc_kernels.output_factor` does, scaled and averaged as it is written."""
    maps = group_gradients(g, geometry).flatten(1, 2).movedim(0, 1)
    terms = g.shape[1] * geometry.positions

    def write(gamma: Tensor, kept: float) -> None:
        triton_symmetric.symmetric_product(maps, gamma, operator="output_factor", scale=(1 - kept) / terms, kept=kept)

    outputs = geometry.group_outputs
    return accumulate(write, geometry.grouped(outputs, outputs), g.device, out, decay)
