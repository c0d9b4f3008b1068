"""What each implementation of the input factor does: FLOPs, bytes that it moves, and calls that it makes."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import lru_cache

from kfc_kernels.dispatch import Case
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor.autocovariance import ROWS_BYTES, convolves
from kfc_kernels.input_factor.phases import stride_one_geometry
from kfc_kernels.input_factor.windows import axes_of
from kfc_kernels.work import Work

FLOAT_BYTES = 4

# Tiles of a Triton program, and the lags that it sums together.
SMALLEST_TILE, LARGEST_TILE, LAGS_TOGETHER = 16, 128, 4

# Channels that a convolution computes together, whether there are as many or not.
CONVOLVED_CHANNELS = 16


@lru_cache(maxsize=1024)
def unstrided(geometry: ConvGeometry) -> ConvGeometry:
    """Describe the stride-1 layer with zeros padding or none whose patches hold those of ``geometry``."""
    if geometry.padding_mode != "zeros":
        size = tuple(size + sum(sides) for size, sides in zip(geometry.in_size, geometry.padding, strict=True))
        geometry = replace(geometry, in_size=size, padding=((0, 0),) * geometry.axes, padding_mode="zeros")
    return stride_one_geometry(geometry)


@lru_cache(maxsize=1024)
def lag_pairs(geometry: ConvGeometry) -> tuple[int, ...]:
    """Count the pairs of pixels of one map at each lag of a half-space.

    Args:
        geometry: A stride-1 layer with zeros padding or none.

    Returns:
        One count per lag, that of lag 0 first.
    """
    axes = axes_of(geometry)
    lags = (lag for lag in itertools.product(*(axis.lags for axis in axes)) if lag >= (0,) * len(axes))
    return tuple(math.prod(axis.pairs(part) for axis, part in zip(axes, lag, strict=True)) for lag in lags)


def layer_of(case: Case) -> tuple[ConvGeometry, int]:
    """Return a case's layer and batch."""
    if case.geometry is None:
        raise ValueError("the input factor is of a layer")
    return case.geometry, case.batch


def declines_lags(case: Case) -> str | None:
    """Decline a layer whose lags need no fewer products than half of what its patches need: phases that hardly meet."""
    geometry, _ = layer_of(case)
    flat = unstrided(geometry)
    by_lags = len(lag_pairs(flat)) * flat.in_channels**2
    by_patches = geometry.kernel_elements**2 * geometry.in_channels**2
    if 2 * by_lags < by_patches:
        return None
    return f"has no fewer products at kernel {geometry.kernel}, stride {geometry.stride} than patches have"


def least_flops(geometry: ConvGeometry, batch: int) -> float:
    """Count the fewest multiplications and additions of any implementation: by patches or by lags, symmetry used.

    Args:
        geometry: The layer.
        batch: Examples N.

    Returns:
        FLOPs.
    """
    by_patches = geometry.positions * geometry.patch_dim * (geometry.patch_dim + 1)
    flat = unstrided(geometry)
    channels = flat.in_channels // flat.groups
    itself, *others = lag_pairs(flat)
    by_lags = itself * channels * (channels + 1) + sum(others) * 2 * channels**2
    return geometry.groups * batch * min(by_patches, by_lags)


def result_bytes(geometry: ConvGeometry) -> int:
    """Count the bytes of the result in float32."""
    return FLOAT_BYTES * geometry.groups * geometry.patch_dim**2


def reference_work(case: Case) -> Work:
    """Count im2col and one product: patches written and read, the result written, read and scaled."""
    geometry, batch = layer_of(case)
    patches = geometry.groups * batch * geometry.positions * geometry.patch_dim
    return Work(2 * patches * geometry.patch_dim, 2 * FLOAT_BYTES * patches + 3 * result_bytes(geometry), 8)


def autocovariance_work(case: Case) -> Work:
    """Count the sums at lags and at edges, their windows, and the writing of the result from them."""
    geometry, batch = layer_of(case)
    flat = unstrided(geometry)
    axes, channels = axes_of(flat), flat.in_channels // flat.groups
    lags = math.prod(len(axis.lags) for axis in axes)
    matrices = math.prod(len(axis.lags) + len(axis.edges) for axis in axes)
    at_edges = math.prod(len(axis.lags) + bool(axis.edges) for axis in axes) - lags
    row_calls = flat.groups * (1 + result_bytes(flat) // flat.groups // ROWS_BYTES)
    calls = 40 + 5 * at_edges + sum(len(axis.windows) for axis in axes if axis.edges) + 5 * row_calls
    if convolves(flat):
        pairs = lags * math.prod(flat.in_size)
        width = CONVOLVED_CHANNELS * math.ceil(channels / CONVOLVED_CHANNELS)
    else:
        counts = lag_pairs(flat)
        pairs, width = sum(counts), channels
        calls += len(counts) * math.prod(flat.in_size[:-1])
    inputs = batch * flat.in_channels * math.prod(flat.in_size)
    moved = FLOAT_BYTES * (4 * inputs + 3 * matrices * flat.groups * channels**2) + 3 * result_bytes(flat)
    return Work(2 * batch * pairs * flat.groups * channels * width, moved, calls)


def _padded(size: int, tile: int) -> int:
    return tile * math.ceil(size / tile)


def implicit_gemm_work(case: Case) -> Work:
    """Count the tiles of a lower triangle, each summed over all positions, and the splits' results."""
    geometry, batch = layer_of(case)
    side = min(LARGEST_TILE, max(SMALLEST_TILE, geometry.patch_dim))
    rows = math.ceil(geometry.patch_dim / side)
    pixels = geometry.groups * batch * geometry.positions
    area = rows * (rows + 1) // 2 * side**2
    read = case.dtype.itemsize * batch * geometry.in_channels * math.prod(geometry.in_size)
    return Work(2 * pixels * area, read + 3 * result_bytes(geometry), 2, case.dtype.itemsize * 2 * pixels * area / side)


def triton_autocovariance_work(case: Case) -> Work:
    """Count the sums at lags, four to a program, those at edges left out, and the writing of the result from them."""
    geometry, batch = layer_of(case)
    flat = unstrided(geometry)
    channels = flat.in_channels // flat.groups
    rows, columns = (min(tile, max(SMALLEST_TILE, channels)) for tile in (LARGEST_TILE, LARGEST_TILE // 2))
    lags = _padded(len(lag_pairs(flat)), LAGS_TOGETHER)
    inputs = batch * flat.in_channels * math.prod(flat.in_size)
    products = (
        flat.groups * batch * math.prod(flat.in_size) * lags * _padded(channels, rows) * _padded(channels, columns)
    )
    matrices = math.prod(len(axis.lags) + len(axis.edges) for axis in axes_of(flat))
    moved = (
        3 * case.dtype.itemsize * inputs + 2 * FLOAT_BYTES * matrices * flat.groups * channels**2 + result_bytes(flat)
    )
    cached = case.dtype.itemsize * products * (1 / (LAGS_TOGETHER * columns) + 1 / rows)
    return Work(2 * products, moved, 3, cached)
