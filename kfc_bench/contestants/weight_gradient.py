"""The plain formula without patches: one weight gradient of a convolution per kernel offset.

The patch entries at one offset are a shifted window of the input. Taken as the gradient of an output, that window gives
a weight gradient whose entries are its products with the patch entries at every offset: one row of blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from kfc_bench.contestants.contestant import Contestant, takes
from kfc_kernels import ConvGeometry
from kfc_kernels.patches import pad


def prepare(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call for an input ``[N, C, *in]``."""
    channels, axes = geometry.in_channels, geometry.axes
    offsets = list(product(*map(range, geometry.kernel)))
    weight = a.new_empty(()).expand(channels, channels, *geometry.kernel)

    def window(padded: Tensor, offset: tuple[int, ...]) -> Tensor:
        for axis in range(axes):
            start = offset[axis] * geometry.dilation[axis]
            stop = start + geometry.stride[axis] * (geometry.out_size[axis] - 1) + 1
            padded = padded[(slice(None),) * (2 + axis) + (slice(start, stop, geometry.stride[axis]),)]
        return padded

    def run() -> Tensor:
        padded = pad(a, geometry)
        omega = a.new_empty(channels, len(offsets), channels * len(offsets))
        for index, offset in enumerate(offsets):
            _, gradient, _ = torch.ops.aten.convolution_backward(
                window(padded, offset).contiguous(),
                padded,
                weight,
                bias_sizes=None,
                stride=geometry.stride,
                padding=[0] * axes,
                dilation=geometry.dilation,
                transposed=False,
                output_padding=[0] * axes,
                groups=1,
                output_mask=[False, True, False],
            )
            omega[:, index] = gradient.flatten(1)
        return omega.flatten(0, 1).div_(a.shape[0])

    return run


CONTESTANTS = (Contestant("weight_gradient", prepare, takes(axes=(1, 2, 3), zeros_only=False, uneven_padding=True)),)
