"""The input factor from the autocovariance of the input: one product per lag, not one per pair of kernel offsets.

At stride 1 the products that an entry sums depend on its lag alone, and only the window of the sum on the kernel offsets.
So the products at a lag are summed once over the whole map, for half of the lags, and what a window misses at the map's
ends is taken off. It is Eq. 23 of Grosse & Martens (2016) term by term, not their homogeneous estimate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional, grad

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor.phases import elements_of, split_phases, stride_one_geometry
from kfc_kernels.input_factor.windows import Axis, axes_of, lag_by_lag
from kfc_kernels.patches import with_zeros_padding
from kfc_kernels.results import accumulation_dtype, store

# Bytes of input that are multiplied together, and of the result that are written together.
CHUNK_BYTES = 2**23
ROWS_BYTES = 2**20

# Channels of a group from which on each lag's products are a matrix product of their own.
CHANNELS_OF_A_PRODUCT = 200

WEIGHT_GRADIENTS = {1: grad.conv1d_weight, 2: grad.conv2d_weight, 3: grad.conv3d_weight}


def chunks_of(a: Tensor, geometry: ConvGeometry) -> Iterator[Tensor]:
    """Cut the input of a layer into chunks of examples, channels last.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer, with zeros padding or none.

    Yields:
        ``[n, *in, groups, C/groups]`` of the layer's `stride_one_geometry`, contiguous.
    """
    dtype = accumulation_dtype(a.dtype)
    for part in a.split(max(1, CHUNK_BYTES // (a[0].numel() * dtype.itemsize))):
        maps = split_phases(part.to(dtype), geometry).movedim(1, -1).contiguous()
        yield maps.unflatten(-1, (geometry.groups, -1))


def add_convolution(sums: Tensor, maps: Tensor, axes: Sequence[Axis]) -> None:
    """Sum the products of all pairs of pixels at every lag, as one weight gradient of the map convolved with itself.

    Args:
        sums: ``[*(lags + edges), groups, C, C]``, where they are added.
        maps: A chunk, ``[n, *in, groups, C]``.
        axes: The layer's axes.
    """
    groups, channels = maps.shape[-2:]
    images = maps.flatten(-2).movedim(-1, 1)
    reach = [(-axis.lags[0] * axis.dilation, axis.lags[-1] * axis.dilation) for axis in axes]
    around = functional.pad(images, [side for sides in reversed(reach) for side in sides])
    shape = groups * channels, channels, *(len(axis.lags) for axis in axes)
    dilation = tuple(axis.dilation for axis in axes)
    products = WEIGHT_GRADIENTS[len(axes)](around, shape, images, dilation=dilation, groups=groups)
    whole = sums[tuple(slice(len(axis.lags)) for axis in axes)]
    whole += products.unflatten(0, (groups, channels)).movedim((0, 1, 2), (-3, -2, -1))


def add_products(sums: Tensor, maps: Tensor, axes: Sequence[Axis], at_edges: Sequence[bool]) -> None:
    """Sum the products of pairs of pixels: each pair at the edges of some axes, all pairs at a lag along the others.

    Args:
        sums: ``[*(lags + edges), groups, C, C]``, where they are added.
        maps: A chunk, ``[n, *in, groups, C]``.
        axes: The layer's axes.
        at_edges: Whether the edges of each axis are meant.
    """
    sides = [maps, maps]
    for dim, (axis, at_edge) in enumerate(zip(axes, at_edges, strict=True), start=1):
        if at_edge:
            pixels = [torch.tensor(places, device=maps.device) for places in axis.edge_pixels]
            sides = [side.index_select(dim, places) for side, places in zip(sides, pixels, strict=True)]
    fixed = [*(dim for dim, at_edge in enumerate(at_edges, start=1) if at_edge), maps.ndim - 2]
    sides = [side.movedim(fixed, tuple(range(len(fixed)))) for side in sides]
    whole = [axis for axis, at_edge in zip(axes, at_edges, strict=True) if not at_edge]
    for lags in itertools.product(*(axis.lags for axis in whole)):
        overlaps = [axis.overlap(lag) for axis, lag in zip(whole, lags, strict=True)]
        left, right = (
            side[(..., *(overlap[which] for overlap in overlaps), slice(None))].flatten(len(fixed), -2)
            for which, side in enumerate(sides)
        )
        place = iter(axis.lags.index(lag) for axis, lag in zip(whole, lags, strict=True))
        where = tuple(
            slice(len(axis.lags), None) if at_edge else next(place)
            for axis, at_edge in zip(axes, at_edges, strict=True)
        )
        sums[where] += left.mT @ right


def windowed(sums: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Take off what each window misses.

    Args:
        sums: ``[*(lags + edges), groups, C, C]``.
        axes: The layer's axes.

    Returns:
        ``[*windows, groups, C, C]``.
    """
    for dim, axis in enumerate(axes):
        if not axis.edges:
            continue
        whole = {lag: sums.select(dim, place) for place, lag in enumerate(axis.lags)}
        missed = {}
        for place, (lag, at_end, step) in enumerate(axis.edges, start=len(axis.lags)):
            edge = sums.select(dim, place)
            missed[lag, at_end, step + 1] = edge.add_(missed[lag, at_end, step]) if step else edge
        windows = []
        for lag, head, tail in axis.windows:
            window = whole[lag]
            for at_end, depth in ((False, head), (True, tail)):
                window = window - missed[lag, at_end, depth] if depth else window
            windows.append(window)
        sums = torch.stack(windows, dim)
    return sums


@lru_cache(maxsize=256)
def blocks_of(axes: tuple[Axis, ...]) -> list[tuple[int, int, int]]:
    """List each pair of kernel offsets at one of the axes' lags with the number of its window."""
    windows = [{window: number for number, window in enumerate(axis.windows)} for axis in axes]
    blocks = []
    for pairs in itertools.product(*(axis.offsets for axis in axes)):
        first = second = window = 0
        for (i, j), axis, numbers in zip(pairs, axes, windows, strict=True):
            first, second = first * axis.kernel + i, second * axis.kernel + j
            window = window * len(numbers) + numbers[j - i, *axis.missed(i, j)]
        blocks.append((first, second, window))
    return blocks


def write_blocks(weights: Tensor, windows: Tensor, axes: tuple[Axis, ...]) -> None:
    """Write the blocks of single lags, and their mirror images.

    Args:
        weights: ``[groups, C, kernel elements, C, kernel elements]``, where they go.
        windows: ``[windows, groups, C, C]``.
        axes: The layer's axes with these lags.
    """
    for first, second, window in blocks_of(axes):
        weights[:, :, first, :, second] = windows[window]
        if first != second:
            weights[:, :, second, :, first] = windows[window].mT


def write_rows(weights: Tensor, windows: Tensor, axes: tuple[Axis, ...]) -> None:
    """Write all blocks, some rows of them at a time: what is read repeatedly stays in the cache.

    Args:
        weights: ``[groups, C, kernel elements, C, kernel elements]``, where they go.
        windows: ``[windows, groups, C, C]`` of a half-space of lags.
        axes: The layer's axes with these lags.
    """
    elements, channels = weights.shape[2:4]
    source = torch.empty(elements, elements, dtype=torch.long)
    for first, second, window in blocks_of(axes):
        if first <= second:
            source[second, first] = window + (len(windows) if first < second else 0)
            source[first, second] = window
    source = source.flatten().to(windows.device)
    step = max(1, ROWS_BYTES // (weights[0, 0].numel() * weights.element_size()))
    for group in range(len(weights)):
        for start in range(0, channels, step):
            rows = slice(start, start + step)
            both = torch.cat([windows[:, group, rows], windows[:, group, :, rows].mT])
            blocks = both.index_select(0, source).unflatten(0, (elements, elements))
            weights[group, rows] = blocks.permute(2, 0, 3, 1)


def first_moments(total: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Sum each patch element over all positions.

    Args:
        total: The input summed over examples, ``[*in, groups, C]``.
        axes: The layer's axes.

    Returns:
        ``[groups, C*kernel elements]``.
    """
    for axis in axes:
        starts = [axis.dilation * i - axis.before for i in range(axis.kernel)]
        windows = [total[max(0, start) : max(0, start + axis.out)].sum(0) for start in starts]
        total = torch.stack(windows, -1)
    return total.flatten(1)


def input_factor(a: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return Omega as `kfc_kernels.input_factor` does, in memory that does not grow with the batch."""
    a, layer = with_zeros_padding(a, geometry)
    flat = stride_one_geometry(layer)
    groups, channels, elements = flat.groups, flat.in_channels // flat.groups, flat.kernel_elements
    axes = axes_of(flat)
    convolves = bool(axes) and elements > 1 and channels < CHANNELS_OF_A_PRODUCT
    dtype = accumulation_dtype(a.dtype)
    omega = a.new_empty(groups, flat.patch_dim, flat.patch_dim, dtype=dtype)
    size = channels * elements
    weights = omega[:, :size, :size].unflatten(2, (channels, elements)).unflatten(1, (channels, elements))
    for part in [axes] if convolves else lag_by_lag(axes):
        shape = *(len(axis.lags) + len(axis.edges) for axis in part), groups, channels, channels
        sums = omega.new_zeros(shape)
        for maps in chunks_of(a, layer):
            for at_edges in itertools.product((False, True), repeat=len(part)):
                if any(at_edge and not axis.edges for axis, at_edge in zip(part, at_edges, strict=True)):
                    continue
                if convolves and not any(at_edges):
                    add_convolution(sums, maps, part)
                else:
                    add_products(sums, maps, part, at_edges)
        windows = windowed(sums.div_(a.shape[0]), part).flatten(0, max(0, len(part) - 1)).view(-1, *shape[-3:])
        (write_rows if convolves else write_blocks)(weights, windows, part)
    if geometry.bias:
        total = sum(maps.sum(0) for maps in chunks_of(a, layer))
        omega[:, :-1, -1] = omega[:, -1, :-1] = first_moments(total, axes) / a.shape[0]
        omega[:, -1, -1] = geometry.positions
    if flat is not layer:
        elements_wanted = elements_of(layer, a.device)
        omega = omega[:, elements_wanted[:, None], elements_wanted]
    return store(omega.reshape(geometry.grouped(*omega.shape[1:])), out, decay)
