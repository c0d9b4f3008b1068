"""Products of pairs of pixels, summed lag by lag: the work of the autocovariance method, in torch operations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import grad

from kfc_kernels.input_factor.windows import Axis
from kfc_kernels.patches import crop

WEIGHT_GRADIENTS: dict[int, Callable[..., Tensor]] = {
    1: grad.conv1d_weight,
    2: grad.conv2d_weight,
    3: grad.conv3d_weight,
}


def add_convolution(sums: Tensor, left: Tensor, right: Tensor, axes: Sequence[Axis]) -> None:
    """Sum the products of all pairs of pixels at every lag: the weight gradient of a convolution of a map with itself.

    Args:
        sums: ``[*(lags + edges), groups, C, C]``, where they are added.
        left: The pairs' first pixels, ``[*in, n, groups, C]``.
        right: Their second pixels, likewise.
        axes: The layer's axes.
    """
    groups, channels = left.shape[-2:]
    first, second = (side.flatten(-2).movedim(-2, 0) for side in (left, right))
    size, reach = first.shape[1], axes[0].lags[-1] * axes[0].dilation
    longer = second.new_empty(second.shape[0], size + reach, *second.shape[2:])
    longer[:, :size] = second
    longer[:, size:] = 0
    products = WEIGHT_GRADIENTS[len(axes)](
        longer.movedim(-1, 1),
        (groups * channels, right.shape[-1], *(len(axis.lags) for axis in axes)),
        first.movedim(-1, 1),
        padding=(0, *(axis.lags[-1] * axis.dilation for axis in axes[1:])),
        dilation=tuple(axis.dilation for axis in axes),
        groups=groups,
    )
    whole = sums[tuple(slice(len(axis.lags)) for axis in axes)]
    whole += products.unflatten(0, (groups, channels)).movedim((0, 1, 2), (-3, -2, -1))


def add_products(sums: Tensor, left: Tensor, right: Tensor, axes: Sequence[Axis]) -> None:
    """Sum the products of all pairs of pixels at each lag of a half-space: matrix products of rows where they lie.

    Args:
        sums: ``[*(lags + edges), groups, C, C]``, where they are added.
        left: The pairs' first pixels, ``[*in, n, groups, C]``.
        right: Their second pixels, likewise.
        axes: The layer's axes.
    """
    for lag in itertools.product(*(axis.lags for axis in axes)):
        if lag < (0,) * len(axes):
            continue
        overlaps = [axis.overlap(part) for axis, part in zip(axes, lag, strict=True)]
        pairs = [crop(side, 0, [overlap[which] for overlap in overlaps]) for which, side in enumerate((left, right))]
        rows = 1 if left.is_cuda else math.prod(pairs[0].shape[: max(0, len(axes) - 1)])
        pixels = math.prod(pairs[0].shape[:-2]) // max(1, rows)
        first, second = (side.reshape(rows, pixels, *side.shape[-2:]) for side in pairs)
        total = sums[tuple(axis.lags.index(part) for axis, part in zip(axes, lag, strict=True))]
        for a, b in zip(first, second, strict=True):
            for group in range(len(total)):
                total[group].addmm_(a[:, group].mT, b[:, group])


def add_edges(sums: Tensor, left: Tensor, right: Tensor, axes: Sequence[Axis], at_edges: Sequence[bool]) -> None:
    """Sum the products of single pairs of pixels at the edges of some axes, over all pairs at a lag along the others.

    Args:
        sums: ``[*(lags + edges), groups, C, C]``, where they are added.
        left: The pairs' first pixels, ``[*in, n, groups, C]``.
        right: Their second pixels, likewise.
        axes: The layer's axes.
        at_edges: Whether the edges of each axis are meant.
    """
    edges = [dim for dim, at_edge in enumerate(at_edges) if at_edge]
    sides = [left, right]
    for depth, dim in enumerate(edges):
        pixels = [torch.tensor(places, device=left.device) for places in axes[dim].edge_pixels]
        sides = [side.movedim(dim, 0)[places] for side, places in zip(sides, pixels, strict=True)]
        sides = [side.movedim(0, depth) for side in sides]
    sides = [side.movedim(-2, len(edges)) for side in sides]
    along = [range(1) if at_edge else axis.lags for axis, at_edge in zip(axes, at_edges, strict=True)]
    for lag in itertools.product(*along):
        overlaps: list[tuple[slice, slice]] = []
        where: list[int | slice] = []
        for axis, at_edge, part in zip(axes, at_edges, lag, strict=True):
            overlaps += [] if at_edge else [axis.overlap(part)]
            where.append(slice(len(axis.lags), None) if at_edge else axis.lags.index(part))
        first, second = (
            crop(side, len(edges) + 1, [overlap[which] for overlap in overlaps]).flatten(len(edges) + 1, -2)
            for which, side in enumerate(sides)
        )
        sums[tuple(where)] += first.mT @ second
