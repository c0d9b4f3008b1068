"""im2col for any number of axes: the paper's expansion operator (Eq. 25), as plain views and one copy."""

from __future__ import annotations

from collections.abc import Sequence
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


def _padded(a: Tensor, geometry: ConvGeometry) -> tuple[Tensor, ConvGeometry]:
    padded = pad(a, geometry)
    return padded, replace(
        geometry, in_size=tuple(padded.shape[2:]), padding=((0, 0),) * geometry.axes, padding_mode="zeros"
    )


def crop(maps: Tensor, dim: int, windows: Sequence[slice]) -> Tensor:
    """Return the view of a window on consecutive axes, the first of them ``dim``."""
    for axis, window in enumerate(windows, start=dim):
        maps = maps.narrow(axis, window.start, window.stop - window.start)
    return maps


def with_zeros_padding(a: Tensor, geometry: ConvGeometry) -> tuple[Tensor, ConvGeometry]:
    """Pad explicitly where the padding is not zeros, which a mask can stand for.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer.

    Returns:
        An input and a geometry with the same patches, its padding zeros or none.
    """
    return (a, geometry) if geometry.padding_mode == "zeros" else _padded(a, geometry)


def with_even_padding(a: Tensor, geometry: ConvGeometry) -> tuple[Tensor, ConvGeometry]:
    """Pad explicitly where the padding is not zeros, as many before as after, which torch's convolutions add.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer.

    Returns:
        An input and a geometry with the same patches.
    """
    a, geometry = with_zeros_padding(a, geometry)
    return (a, geometry) if all(before == after for before, after in geometry.padding) else _padded(a, geometry)


def windows(a: Tensor, geometry: ConvGeometry) -> Tensor:
    """View the pixels that each kernel offset sees; only the padding is copied.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer.

    Returns:
        A view ``[N, groups, C/groups, *kernel, *out]``.
    """
    batch = geometry.batch_of(a)
    padded = pad(a, geometry)
    batch_stride, channel_stride, *pixel_strides = padded.stride()
    group_channels = geometry.in_channels // geometry.groups
    return padded.as_strided(
        (batch, geometry.groups, group_channels, *geometry.kernel, *geometry.out_size),
        (
            batch_stride,
            group_channels * channel_stride,
            channel_stride,
            *(d * p for d, p in zip(geometry.dilation, pixel_strides, strict=True)),
            *(s * p for s, p in zip(geometry.stride, pixel_strides, strict=True)),
        ),
    )


def extract_columns(a: Tensor, geometry: ConvGeometry) -> Tensor:
    """Expand a layer's input to its patches, positions last, which copies whole rows of pixels.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer.

    Returns:
        ``[N, groups, D, |T|]`` without the homogeneous coordinate; a view where the kernel is one pixel that steps by
        one.
    """
    return windows(a, geometry).reshape(a.shape[0], geometry.groups, -1, geometry.positions)


def extract_patches(a: Tensor, geometry: ConvGeometry) -> Tensor:
    """Expand a layer's input to its patches, ``[[a]]_H`` of Eq. 25 with the homogeneous coordinate last.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer.

    Returns:
        ``[groups, N, |T|, D]``, patch elements ordered as ``weight.flatten(1)``.
    """
    views = windows(a, geometry)
    kernel, out = range(2, 3 + geometry.axes), range(3 + geometry.axes, views.ndim)
    flat = views.permute(1, 0, *out, *kernel).reshape(geometry.groups, a.shape[0], geometry.positions, -1)
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
