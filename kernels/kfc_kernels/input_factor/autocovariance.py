"""The input factor from the autocovariance of the input: one product per lag, not one per pair of kernel offsets.

At stride 1 the products that an entry sums depend on its lag alone, and only the window of the sum on the kernel offsets.
So the products at a lag are summed once over the whole map, for half of the lags, and what a window misses at the map's
ends is taken off. It is Eq. 23 of Grosse & Martens (2016) term by term, not their homogeneous estimate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import grad

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor.phases import elements_of, split_phases, stride_one_geometry
from kfc_kernels.input_factor.windows import Axis, axes_of
from kfc_kernels.patches import with_zeros_padding
from kfc_kernels.results import accumulation_dtype, store

# Bytes of input that are multiplied together, of the sums that are held together, and of the result that is written at once.
CHUNK_BYTES = 2**24
SUMS_BYTES = 2**24
ROWS_BYTES = 2**22

# Channels of a group that a tile has at least, if there are as many.
CHANNELS_OF_A_TILE = 256

# Channels of a group from which on a lag's products are matrix products, not a part of one weight gradient.
CHANNELS_OF_A_PRODUCT = 200

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
WEIGHT_GRADIENTS = {1: grad.conv1d_weight, 2: grad.conv2d_weight, 3: grad.conv3d_weight}


def lay_out(a: Tensor, geometry: ConvGeometry, *, examples_first: bool) -> Tensor:
    """Bring a chunk of a layer's input to stride 1 and channels last.

    Args:
        a: ``[n, C, *in]``.
        geometry: The layer, with zeros padding or none.
        examples_first: Whether the examples come first in memory, or each pixel's lie together.

    Returns:
        ``[*in, n, groups, C/groups]`` of its `stride_one_geometry`.
    """
    a = split_phases(a.to(accumulation_dtype(a.dtype)), geometry)
    if a.ndim in CHANNELS_LAST:
        a = a.contiguous(memory_format=CHANNELS_LAST[a.ndim])
    last = a.movedim(1, -1).contiguous().unflatten(-1, (geometry.groups, -1)).movedim(0, -3)
    return last if examples_first else last.contiguous()


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
    """Sum the products of all pairs of pixels at each lag of a half-space: matrix products over rows of the map in place.

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
        pairs = [side[tuple(overlap[which] for overlap in overlaps)] for which, side in enumerate((left, right))]
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
    batched = [*(dim for dim, at_edge in enumerate(at_edges) if at_edge), left.ndim - 2]
    sides = [left, right]
    for dim in batched[:-1]:
        pixels = [torch.tensor(places, device=left.device) for places in axes[dim].edge_pixels]
        sides = [side[(*(slice(None),) * dim, places)] for side, places in zip(sides, pixels, strict=True)]
    sides = [side.movedim(batched, tuple(range(len(batched)))) for side in sides]
    along = [range(1) if at_edge else axis.lags for axis, at_edge in zip(axes, at_edges, strict=True)]
    for lag in itertools.product(*along):
        overlaps, where = [], []
        for axis, at_edge, part in zip(axes, at_edges, lag, strict=True):
            overlaps += [] if at_edge else [axis.overlap(part)]
            where.append(slice(len(axis.lags), None) if at_edge else axis.lags.index(part))
        first, second = (
            side[(..., *(overlap[which] for overlap in overlaps), slice(None), slice(None))].flatten(len(batched), -2)
            for which, side in enumerate(sides)
        )
        sums[tuple(where)] += first.mT @ second


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
def blocks_of(axes: tuple[Axis, ...]) -> Tensor:
    """Number the window of each pair of kernel offsets, counted on from their number for pairs whose order is reversed.

    Args:
        axes: The layer's axes.

    Returns:
        ``[kernel elements ** 2]``, first offset by second.
    """
    numbers = [{window: number for number, window in enumerate(axis.windows)} for axis in axes]
    elements = list(itertools.product(*(range(axis.kernel) for axis in axes)))
    blocks = []
    for pair in itertools.product(elements, elements):
        reverse = pair[0] > pair[1]
        window = 0
        for i, j, axis, known in zip(*sorted(pair), axes, numbers, strict=True):
            window = window * len(known) + known[j - i, *axis.missed(i, j)]
        blocks.append(window + reverse * math.prod(len(known) for known in numbers))
    return torch.tensor(blocks)


def write(weights: Tensor, ahead: Tensor, behind: Tensor, axes: tuple[Axis, ...]) -> None:
    """Write a tile of the factor, some rows at a time, so that what is read for each block stays in the cache.

    Args:
        weights: ``[groups, C, kernel elements, C', kernel elements]``, where it goes.
        ahead: ``[windows, groups, C, C']`` of a half-space of lags.
        behind: ``[windows, groups, C', C]``, the same with both sides exchanged.
        axes: The layer's axes.
    """
    blocks, elements = blocks_of(axes).to(weights.device), weights.shape[2]
    step = max(1, ROWS_BYTES // (weights[0, 0].numel() * weights.element_size()))
    for group, tile in enumerate(weights):
        for start in range(0, len(tile), step):
            rows = slice(start, start + step)
            both = torch.cat([ahead[:, group, rows], behind[:, group, :, rows].mT])
            tile[rows] = both.index_select(0, blocks).unflatten(0, (elements, elements)).permute(2, 0, 3, 1)


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


def tiles_of(channels: int, axes: Sequence[Axis], groups: int, element_size: int) -> list[slice]:
    """Cut a group's channels so that the sums of two tiles stay within `SUMS_BYTES`, if there are enough channels."""
    matrices = groups * math.prod(len(axis.lags) + len(axis.edges) for axis in axes)
    most = math.isqrt(SUMS_BYTES // (2 * matrices * element_size))
    size = math.ceil(channels / math.ceil(channels / max(CHANNELS_OF_A_TILE, most)))
    return [slice(start, start + size) for start in range(0, channels, size)]


def input_factor(a: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return Omega as `kfc_kernels.input_factor` does, in memory that does not grow with the batch."""
    a, layer = with_zeros_padding(a, geometry)
    flat = stride_one_geometry(layer)
    groups, channels, elements, axes = (
        flat.groups,
        flat.in_channels // flat.groups,
        flat.kernel_elements,
        axes_of(flat),
    )
    convolves = elements > 1 and channels < CHANNELS_OF_A_PRODUCT
    dtype = accumulation_dtype(a.dtype)
    chunks = a.chunk(math.ceil(a.numel() * dtype.itemsize / CHUNK_BYTES))

    @lru_cache(maxsize=1)
    def chunk(number: int) -> Tensor:
        return lay_out(chunks[number], layer, examples_first=convolves)

    def sums_of(first: slice, second: slice) -> Tensor:
        tile = [len(range(channels)[side]) for side in (first, second)]
        sums = a.new_zeros(*(len(axis.lags) + len(axis.edges) for axis in axes), groups, *tile, dtype=dtype)
        for number in range(len(chunks)):
            left, right = (chunk(number)[..., side] for side in (first, second))
            (add_convolution if convolves else add_products)(sums, left, right, axes)
            for at_edges in itertools.product(*((False, True) if axis.edges else (False,) for axis in axes)):
                if any(at_edges):
                    add_edges(sums, left, right, axes, at_edges)
        return windowed(sums.div_(a.shape[0]), axes).reshape(-1, groups, *tile)

    omega = a.new_empty(groups, flat.patch_dim, flat.patch_dim, dtype=dtype)
    size = channels * elements
    weights = omega[:, :size, :size].unflatten(2, (channels, elements)).unflatten(1, (channels, elements))
    for first, second in itertools.combinations_with_replacement(
        tiles_of(channels, axes, groups, dtype.itemsize), 2
    ):
        ahead = sums_of(first, second)
        behind = ahead if first == second else sums_of(second, first)
        write(weights[:, first, :, second], ahead, behind, axes)
        if first != second:
            write(weights[:, second, :, first], behind, ahead, axes)
    if geometry.bias:
        total = sum(chunk(number).sum(-3) for number in range(len(chunks)))
        omega[:, :-1, -1] = omega[:, -1, :-1] = first_moments(total, axes) / a.shape[0]
        omega[:, -1, -1] = geometry.positions
    if flat is not layer:
        wanted = elements_of(layer, a.device)
        omega = omega[:, wanted[:, None], wanted]
    return store(omega.reshape(geometry.grouped(*omega.shape[1:])), out, decay)
