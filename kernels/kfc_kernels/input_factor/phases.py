"""A strided layer as one of stride 1, in which each residue class of pixels has channels of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from kfc_kernels.geometry import ConvGeometry


@dataclass(frozen=True)
class Phases:
    """One axis of a layer: the pixel under kernel offset i at position t is ``stride*(t + step) + phase``.

    Attributes:
        stride: Pixels from one position to the next, which become phases; 1 if the axis stays as it is.
        used: The phases that some kernel offset meets.
        of: For each kernel offset, the index of its phase in ``used``.
        steps: For each kernel offset, its step.
    """

    stride: int
    used: tuple[int, ...]
    of: tuple[int, ...]
    steps: tuple[int, ...]


def phases_of(geometry: ConvGeometry) -> list[Phases]:
    """Take the kernel offsets of each axis apart into steps and phases."""
    axes = []
    for kernel, stride, dilation in zip(geometry.kernel, geometry.stride, geometry.dilation, strict=True):
        parts = [divmod(dilation * i, stride) if stride > 1 else (i, 0) for i in range(kernel)]
        used = tuple(sorted({phase for _, phase in parts}))
        axes.append(
            Phases(stride, used, tuple(used.index(phase) for _, phase in parts), tuple(step for step, _ in parts))
        )
    return axes


def stride_one_geometry(geometry: ConvGeometry) -> ConvGeometry:
    """Describe the stride-1 layer whose patches hold those of ``geometry``.

    Args:
        geometry: The layer, with zeros padding or none.

    Returns:
        ``geometry`` itself at stride 1; else a layer of as many times the channels as there are phases, whose strided
        axes are padded beforehand.
    """
    axes = phases_of(geometry)
    if all(axis.stride == 1 for axis in axes):
        return geometry
    kernel = tuple(axis.steps[-1] + 1 for axis in axes)
    strided = [axis.stride > 1 for axis in axes]
    fitting = [out + k - 1 for out, k in zip(geometry.out_size, kernel, strict=True)]
    return replace(
        geometry,
        in_channels=geometry.in_channels * math.prod(len(axis.used) for axis in axes),
        in_size=tuple(new if s else old for old, new, s in zip(geometry.in_size, fitting, strided, strict=True)),
        kernel=kernel,
        stride=(1,) * len(axes),
        padding=tuple((0, 0) if s else sides for sides, s in zip(geometry.padding, strided, strict=True)),
        dilation=tuple(1 if s else d for d, s in zip(geometry.dilation, strided, strict=True)),
    )


def split_phases(a: Tensor, geometry: ConvGeometry) -> Tensor:
    """Turn the input of a layer into that of `stride_one_geometry`.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer, with zeros padding or none.

    Returns:
        ``[N, C*phases, *in']``; ``a`` itself at stride 1.
    """
    target = stride_one_geometry(geometry)
    if target is geometry:
        return a
    for number, axis in enumerate(phases_of(geometry)):
        if axis.stride == 1:
            continue
        dim = a.ndim - geometry.axes + number
        steps = target.in_size[number]
        before = geometry.padding[number][0]
        sides = [0, 0] * (a.ndim - 1 - dim) + [before, steps * axis.stride - before - a.shape[dim]]
        pixels = functional.pad(a, sides).unflatten(dim, (steps, axis.stride))
        a = torch.stack([pixels.select(dim + 1, phase) for phase in axis.used], dim=a.ndim - geometry.axes)
    return a.flatten(1, a.ndim - geometry.axes - 1)


def elements_of(geometry: ConvGeometry, device: torch.device) -> Tensor:
    """Find a layer's patch elements among those of `stride_one_geometry`.

    Args:
        geometry: The layer.
        device: Where the indices are needed.

    Returns:
        ``[D]``, indices into a patch of the other layer.
    """
    target, axes = stride_one_geometry(geometry), phases_of(geometry)
    channels = geometry.in_channels // geometry.groups
    shape = channels, *(len(axis.used) for axis in axes), *target.kernel
    where: list[Tensor | slice] = [slice(None)]
    for offsets in ([axis.of for axis in axes], [axis.steps for axis in axes]):
        where += [
            torch.tensor(values).view([-1 if place == number else 1 for place in range(len(axes))])
            for number, values in enumerate(offsets)
        ]
    elements = torch.arange(math.prod(shape)).view(shape)[tuple(where)].flatten()
    homogeneous = torch.tensor([math.prod(shape)] if geometry.bias else [], dtype=elements.dtype)
    return torch.cat([elements, homogeneous]).to(device)
