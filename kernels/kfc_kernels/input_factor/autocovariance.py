"""The input factor from the autocovariance of the input: one product per lag, not one per pair of kernel offsets.

At stride 1 the products that an entry sums depend on its lag alone, only the window of the sum on the kernel offsets.
So the products at a lag are summed once over the whole map, for half of the lags, and what a window misses at the map's
ends is taken off. It is Eq. 23 of Grosse & Martens (2016) term by term, not their homogeneous estimate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor.lag_products import add_convolution, add_edges, add_products
from kfc_kernels.input_factor.phases import elements_of, split_phases, stride_one_geometry
from kfc_kernels.input_factor.windows import Axis, axes_of
from kfc_kernels.patches import with_zeros_padding
from kfc_kernels.results import accumulation_dtype, store

# Bytes of input that are multiplied together, of sums that are held together, of the result that is written at once.
CHUNK_BYTES = 2**24
SUMS_BYTES = 10 * 2**20
ROWS_BYTES = 2**22

# Channels of a group that a tile has at least, if there are as many.
CHANNELS_OF_A_TILE = 128

# Channels of a group from which on a lag's products are matrix products, not a part of one weight gradient.
CHANNELS_OF_A_PRODUCT = 200

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


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


def windowed(sums: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Take off what each window misses.

    Args:
        sums: ``[*(lags + edges), groups, C, C]``.
        axes: The layer's axes.

    Returns:
        ``[windows, groups, C, C]``, those of the last axis counting fastest.
    """
    for dim, axis in enumerate(axes):
        if not axis.edges:
            continue
        whole = {lag: sums.select(dim, place) for place, lag in enumerate(axis.lags)}
        missed: dict[tuple[int, bool, int], Tensor] = {}
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
    return sums.reshape(-1, *sums.shape[-3:])


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


def convolves(flat: ConvGeometry) -> bool:
    """Tell whether all lags of a stride-1 layer are one weight gradient, or matrix products lag by lag."""
    return flat.kernel_elements > 1 and flat.in_channels // flat.groups < CHANNELS_OF_A_PRODUCT


def tiles_of(channels: int, axes: Sequence[Axis], groups: int, element_size: int) -> list[slice]:
    """Cut a group's channels so that sums stay within `SUMS_BYTES`: those of one tile, or of two in both orders."""
    pair_bytes = element_size * groups * math.prod(len(axis.lags) + len(axis.edges) for axis in axes)
    size = channels
    if pair_bytes * channels**2 > SUMS_BYTES:
        most = max(CHANNELS_OF_A_TILE, math.isqrt(SUMS_BYTES // (2 * pair_bytes)))
        size = math.ceil(channels / math.ceil(channels / most))
    return [slice(start, min(start + size, channels)) for start in range(0, channels, size)]


def sums_at_lags(
    chunks: Sequence[Callable[[], Tensor]], first: slice, second: slice, axes: Sequence[Axis], at_once: bool
) -> Tensor:
    """Sum the products of two tiles of channels over pairs of pixels.

    Args:
        chunks: Return the input's chunks, ``[*in, n, groups, C]``.
        first: The channels of the pairs' first pixels.
        second: Those of their second pixels.
        axes: The layer's axes.
        at_once: Whether all lags are one weight gradient, or matrix products lag by lag.

    Returns:
        ``[*(lags + edges), groups, C', C'']``.
    """
    maps = chunks[0]()
    matrices = [len(axis.lags) + len(axis.edges) for axis in axes]
    sums = maps.new_zeros(*matrices, maps.shape[-2], first.stop - first.start, second.stop - second.start)
    for chunk in chunks:
        left, right = chunk()[..., first], chunk()[..., second]
        (add_convolution if at_once else add_products)(sums, left, right, axes)
        for at_edges in itertools.product(*((False, True) if axis.edges else (False,) for axis in axes)):
            if any(at_edges):
                add_edges(sums, left, right, axes, at_edges)
    return sums


def input_factor(a: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return Omega as `kfc_kernels.input_factor` does, in memory that does not grow with the batch."""
    batch = a.shape[0]
    a, layer = with_zeros_padding(a, geometry)
    flat = stride_one_geometry(layer)
    axes, groups, elements = axes_of(flat), flat.groups, flat.kernel_elements
    channels = flat.in_channels // groups
    dtype = accumulation_dtype(a.dtype)
    parts = a.chunk(math.ceil(a.numel() * dtype.itemsize / CHUNK_BYTES))
    recent = lru_cache(maxsize=1)(lambda part: lay_out(part, layer, examples_first=convolves(flat)))
    chunks = [partial(recent, part) for part in parts]

    omega = a.new_empty(groups, flat.patch_dim, flat.patch_dim, dtype=dtype)
    size = channels * elements
    weights = omega[:, :size, :size].unflatten(2, (channels, elements)).unflatten(1, (channels, elements))
    for first, second in itertools.combinations_with_replacement(tiles_of(channels, axes, groups, dtype.itemsize), 2):
        ahead = windowed(sums_at_lags(chunks, first, second, axes, convolves(flat)).div_(batch), axes)
        behind = ahead
        if first != second:
            behind = windowed(sums_at_lags(chunks, second, first, axes, convolves(flat)).div_(batch), axes)
            write(weights[:, second, :, first], behind, ahead, axes)
        write(weights[:, first, :, second], ahead, behind, axes)
    if geometry.bias:
        total = torch.stack([chunk().sum(-3) for chunk in chunks]).sum(0)
        omega[:, :-1, -1] = omega[:, -1, :-1] = first_moments(total, axes) / batch
        omega[:, -1, -1] = geometry.positions
    if flat is not layer:
        wanted = elements_of(layer, a.device)
        omega = omega[:, wanted[:, None], wanted]
    return store(omega.reshape(geometry.grouped(*omega.shape[1:])), out, decay)
