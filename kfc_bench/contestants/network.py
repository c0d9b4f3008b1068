"""The layer and the one-layer network that contestants with a public API are given."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from kfc_kernels import ConvGeometry


def convolution(geometry: ConvGeometry, a: Tensor) -> nn.Conv2d:
    """Build the module that a geometry describes, its weights drawn from a fixed seed.

    Args:
        geometry: A 2d convolution, padded alike on both sides of an axis.
        a: Its input; says dtype and device.

    Returns:
        The module.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Conv2d(
            geometry.in_channels,
            geometry.out_channels,
            (geometry.kernel[0], geometry.kernel[1]),
            stride=(geometry.stride[0], geometry.stride[1]),
            padding=(geometry.padding[0][0], geometry.padding[1][0]),
            dilation=(geometry.dilation[0], geometry.dilation[1]),
            groups=geometry.groups,
            bias=geometry.bias,
            padding_mode=cast("Any", geometry.padding_mode),
        )
    return module.to(a.device, a.dtype)


def classifier(geometry: ConvGeometry, a: Tensor) -> tuple[nn.Sequential, Tensor]:
    """Build the convolution with a global average pool on top, and labels for it.

    Its outputs are the logits of as many classes as there are output channels, so that every library takes it.

    Args:
        geometry: A 2d convolution, padded alike on both sides of an axis.
        a: Its input, ``[N, C, H, W]``.

    Returns:
        The network, whose layer ``"0"`` is the convolution, and labels ``[N]``.
    """
    pool = nn.AvgPool2d((geometry.out_size[0], geometry.out_size[1]))
    labels = torch.arange(a.shape[0], device=a.device) % geometry.out_channels
    return nn.Sequential(convolution(geometry, a), pool, nn.Flatten()), labels
