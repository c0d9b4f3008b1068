"""im2col for any number of axes: the paper's expansion operator (Eq. 25), as plain views and one copy."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from kfc_kernels.geometry import ConvGeometry


def pad(a: Tensor, geometry: ConvGeometry) -> Tensor:
    """Pad a layer's input explicitly, by the geometry's own mode.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer.

    Returns:
        ``[N, C, *(in + before + after)]``; ``a`` itself where there is no padding.
    """
    sides = [side for pair in reversed(geometry.padding) for side in pair]
    if not any(sides):
        return a
    mode = "constant" if geometry.padding_mode == "zeros" else geometry.padding_mode
    return functional.pad(a, sides, mode=mode)


def with_zeros_padding(a: Tensor, geometry: ConvGeometry) -> tuple[Tensor, ConvGeometry]:
    """Pad explicitly where the padding is not zeros, which a mask can stand for.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer.

    Returns:
        An input and a geometry with the same patches, its padding zeros or none.
    """
    if geometry.padding_mode == "zeros":
        return a, geometry
    padded = pad(a, geometry)
    return padded, replace(
        geometry, in_size=tuple(padded.shape[2:]), padding=((0, 0),) * geometry.axes, padding_mode="zeros"
    )


def extract_patches(a: Tensor, geometry: ConvGeometry) -> Tensor:
    """Expand a layer's input to its patches, ``[[a]]_H`` of Eq. 25 with the homogeneous coordinate last.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer.

    Returns:
        ``[groups, N, |T|, D]``, patch elements ordered as ``weight.flatten(1)``.
    """
    batch = geometry.batch_of(a)
    padded = pad(a, geometry)
    batch_stride, channel_stride, *pixel_strides = padded.stride()
    group_channels = geometry.in_channels // geometry.groups
    windows = padded.as_strided(
        (geometry.groups, batch, *geometry.out_size, group_channels, *geometry.kernel),
        (
            group_channels * channel_stride,
            batch_stride,
            *(s * p for s, p in zip(geometry.stride, pixel_strides, strict=True)),
            channel_stride,
            *(d * p for d, p in zip(geometry.dilation, pixel_strides, strict=True)),
        ),
    )
    flat = windows.reshape(geometry.groups, batch, geometry.positions, -1)
    if not geometry.bias:
        return flat
    return torch.cat([flat, flat.new_ones(*flat.shape[:-1], 1)], dim=-1)


def group_gradients(g: Tensor, geometry: ConvGeometry) -> Tensor:
    """Lay backpropagated vectors out by group and position, ``DS`` of Eq. 28.

    Args:
        g: ``[N, K, *out]`` or ``[V, N, K, *out]``.
        geometry: The layer.

    Returns:
        A view ``[groups, V, N, K/groups, |T|]``.
    """
    stacked = geometry.vectors_of(g)
    return stacked.reshape(*stacked.shape[:2], geometry.groups, geometry.group_outputs, geometry.positions).movedim(
        2, 0
    )


def example_gradients(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Tensor:
    """Form every example's own weight gradient (Eq. 28).

    Args:
        a: ``[N, C, *in]``.
        g: ``[N, K, *out]`` or ``[V, N, K, *out]``, gradients of each example's own loss.
        geometry: The layer.

    Returns:
        ``[groups, V, N, K/groups, D]``.
    """
    return group_gradients(g, geometry) @ extract_patches(a, geometry).unsqueeze(1)
