"""The exact Fisher as a symmetric product of the per-example gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels import triton_symmetric
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import accumulate
from kfc_kernels.triton_launch import Ahead

# Parameters of the networks that it is for.
PARAMETERS = 4000


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launches, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: A layer; all networks of some size have the same launch.
        dtype: Element type of the gradients.
        target: The architecture; all have the same launches.

    Returns:
        As `kfc_kernels.triton_symmetric.ahead_of_time`.
    """
    return triton_symmetric.ahead_of_time(PARAMETERS, dtype, channels_inner=True)


def exact_fisher(gradients: Tensor, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return F as `kfc_kernels.exact_fisher` does, scaled and averaged as it is written."""
    _, examples, parameters = gradients.shape
    rows = gradients.flatten(0, 1)[:, None, :, None]

    def write(fisher: Tensor, kept: float) -> None:
        triton_symmetric.symmetric_product(
            rows, fisher, operator="exact_fisher", scale=(1 - kept) / examples, kept=kept
        )

    return accumulate(write, (parameters, parameters), gradients.device, out, decay)
