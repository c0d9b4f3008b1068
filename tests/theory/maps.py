"""Feature maps whose statistics meet the paper's assumptions exactly, not on average over draws."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from kfc_kernels import ConvGeometry

Offset = tuple[int, ...]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def same(inputs: int, outputs: int, size: Sequence[int], radius: Sequence[int], **options: object) -> ConvGeometry:
    """Build the paper's layer: stride 1, padding R, as many locations out as in."""
    return ConvGeometry.conv(inputs, outputs, size, [2 * r + 1 for r in radius], padding="same", bias=True, **options)


def locations(size: Sequence[int]) -> Iterator[Offset]:
    """Run through T, row by row."""
    return itertools.product(*(range(extent) for extent in size))


def offsets(radius: Sequence[int]) -> list[Offset]:
    """List Delta in the order of a kernel's elements."""
    return list(itertools.product(*(range(-r, r + 1) for r in radius)))


def moved(location: Offset, offset: Offset) -> Offset:
    return tuple(a + b for a, b in zip(location, offset, strict=True))


def inside(location: Offset, size: Sequence[int]) -> bool:
    return all(0 <= a < extent for a, extent in zip(location, size, strict=True))


def beta(size: Sequence[int], first: Offset, second: Offset) -> int:
    """Evaluate Eq. 17, an axis at a time; beta(d) is beta(d, d)."""
    product = 1
    for extent, a, b in zip(size, first, second, strict=True):
        product *= extent - max(a, b, 0) + min(a, b, 0)
    return product


def every_shift(torus: Tensor, size: Sequence[int]) -> Tensor:
    """Cut a window out of each circular shift of a map: exactly homogeneous, and correlated from pixel to pixel.

    Args:
        torus: ``[J, *period]``.
        size: The window's, at most the period's.

    Returns:
        ``[prod(period), J, *size]``.
    """
    axes = tuple(range(1, torus.ndim))
    window = (slice(None), *(slice(0, extent) for extent in size))
    return torch.stack([torus.roll(shift, axes)[window] for shift in locations(torus.shape[1:])])


def white(mean: Tensor, root: Tensor, size: Sequence[int]) -> Tensor:
    """Make maps of this mean and the covariance root root^T at each location, none between any two.

    Args:
        mean: ``[J]``.
        root: ``[J, J]``.
        size: The maps'.

    Returns:
        ``[2 J |T|, J, *size]``.
    """
    deltas = one_location_each(root, size) * (len(mean) * len(list(locations(size)))) ** 0.5
    column = mean.reshape(-1, *(1 for _ in size))
    return torch.cat([column + deltas, column - deltas])


def one_location_each(root: Tensor, size: Sequence[int]) -> Tensor:
    """Put each column of ``root`` at each location: the sum of outer products is root root^T there, 0 between two.

    Args:
        root: ``[I, columns]``.
        size: The maps'.

    Returns:
        ``[columns |T|, I, *size]``.
    """
    unit = torch.eye(len(list(locations(size))), dtype=root.dtype)
    return torch.einsum("ic,pt->cpit", root, unit).reshape(-1, len(root), *size)


def for_each_example(vectors: Tensor, examples: int) -> Tensor:
    """Give every example the same vectors, so that activations and derivatives are independent.

    Args:
        vectors: ``[V, I, *size]``.
        examples: N.

    Returns:
        ``[V, N, I, *size]``.
    """
    return vectors.unsqueeze(1).expand(-1, examples, *vectors.shape[1:])
