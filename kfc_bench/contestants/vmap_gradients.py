"""The plain form that leaves per-example gradients to torch: ``vmap`` of ``grad``, then squares."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional

from kfc_bench.contestants.contestant import Contestant, takes
from kfc_kernels import ConvGeometry
from kfc_kernels.patches import pad

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def prepare(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call for an input ``[N, C, *in]`` and vectors ``[1, N, K, *out]``."""
    (vectors,) = g
    convolution = CONVOLUTIONS[geometry.axes]
    weight = a.new_zeros(geometry.out_channels, geometry.in_channels // geometry.groups, *geometry.kernel)
    parameters = [weight, *([a.new_zeros(geometry.out_channels)] if geometry.bias else [])]

    def loss(parameters: list[Tensor], padded: Tensor, vector: Tensor) -> Tensor:
        output = convolution(
            padded, *parameters, stride=geometry.stride, dilation=geometry.dilation, groups=geometry.groups
        )
        return (output * vector).sum()

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))

    def run() -> Tensor:
        rows = [
            gradient.square_().mean(0).reshape(geometry.out_channels, -1)
            for gradient in gradients(parameters, pad(a, geometry), vectors)
        ]
        squares = torch.cat(rows, 1) if geometry.bias else rows[0]
        return squares.view(geometry.grouped(geometry.group_outputs, geometry.patch_dim))

    return run


CONTESTANTS = (
    Contestant(
        "vmap_gradients",
        prepare,
        takes(axes=(1, 2, 3), bias=True, zeros_only=False, uneven_padding=True, groups=True),
        operator="diagonal_fisher",
    ),
)
