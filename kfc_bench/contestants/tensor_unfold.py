"""The plain formula without im2col's own kernel: ``Tensor.unfold`` views, one copy, one matrix product."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from kfc_bench.contestants.contestant import Contestant, takes
from kfc_kernels import ConvGeometry
from kfc_kernels.patches import pad


def prepare(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call for an input ``[N, C, *in]``."""
    spatial = range(2, 2 + geometry.axes)
    order = [1, *range(2 + geometry.axes, 2 + 2 * geometry.axes), 0, *spatial]

    def run() -> Tensor:
        windows = pad(a, geometry)
        for axis, kernel, stride, dilation in zip(
            spatial, geometry.kernel, geometry.stride, geometry.dilation, strict=True
        ):
            windows = windows.unfold(axis, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
        columns = windows.permute(order).reshape(geometry.patch_dim, -1)
        return columns @ columns.mT / a.shape[0]

    return run


CONTESTANTS = (Contestant("tensor_unfold", prepare, takes(axes=(1, 2, 3), zeros_only=False, uneven_padding=True)),)
