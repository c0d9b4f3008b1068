"""Which pairs of pixels each entry of an input factor sums, axis by axis: the arithmetic of the autocovariance method.

On one axis, kernel offsets i and j of a stride-1 layer meet the pixels ``t + d*i - p`` and ``t + d*j - p`` at position
t: a pair at lag ``j - i``. All entries of a lag sum the same pairs, but for a few at the map's ends that their window
misses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from kfc_kernels.geometry import ConvGeometry


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a stride-1 layer with zeros padding, and the lags on it that are looked at.

    Attributes:
        size: Pixels of the map, H.
        kernel: Kernel elements, k.
        dilation: Pixels from one kernel element to the next, d.
        before: Padding before the map, p.
        out: Output positions.
        lags: Lags in kernel elements, within ``-(k-1) ... k-1``.
    """

    size: int
    kernel: int
    dilation: int
    before: int
    out: int
    lags: range

    def pairs(self, lag: int) -> int:
        """Count the pairs at ``lag`` that lie in the map."""
        return max(0, self.size - self.dilation * abs(lag))

    def overlap(self, lag: int) -> tuple[slice, slice]:
        """Return the first and the second pixels of all pairs at ``lag``."""
        count = self.pairs(lag)
        first, second = (min(max(0, shift), self.size) for shift in (-self.dilation * lag, self.dilation * lag))
        return slice(first, first + count), slice(second, second + count)

    def missed(self, first: int, second: int) -> tuple[int, int]:
        """Count the pairs at the map's beginning and end that the window of two kernel offsets misses.

        Args:
            first: Kernel offset i.
            second: Kernel offset j.

        Returns:
            How many of the first and of the last pairs at lag ``j - i``; together at most all of them.
        """
        count = self.pairs(second - first)
        start = self.dilation * min(first, second) - self.before
        head = min(max(0, start), count)
        return head, min(max(0, count - max(0, start + self.out)), count - head)

    @cached_property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """The pairs of kernel offsets at one of `lags`."""
        elements = range(self.kernel)
        return tuple((i, j) for i in elements for j in elements if j - i in self.lags)

    @cached_property
    def windows(self) -> tuple[tuple[int, int, int], ...]:
        """The distinct windows: a lag, and how many pairs are missed at the map's beginning and end."""
        return tuple(sorted({(j - i, *self.missed(i, j)) for i, j in self.offsets}))

    @cached_property
    def edges(self) -> tuple[tuple[int, bool, int], ...]:
        """The pairs that some window misses: a lag, whether at the map's end, and how many pairs lie farther out."""
        depth = {
            (lag, at_end): max(window[1 + at_end] for window in self.windows if window[0] == lag)
            for lag in self.lags
            for at_end in (False, True)
        }
        return tuple((lag, at_end, step) for (lag, at_end), steps in depth.items() for step in range(steps))

    @cached_property
    def edge_pixels(self) -> tuple[list[int], list[int]]:
        """The first and the second pixel of each of `edges`."""
        first, second = [], []
        for lag, at_end, step in self.edges:
            pixels = [(side.stop - 1 - step if at_end else side.start + step) for side in self.overlap(lag)]
            first.append(pixels[0])
            second.append(pixels[1])
        return first, second


@lru_cache(maxsize=1024)
def axes_of(geometry: ConvGeometry) -> tuple[Axis, ...]:
    """Describe the axes of a stride-1 layer with zeros padding; the first one has the lags of a half-plane."""
    return tuple(
        Axis(size, kernel, dilation, before, out, lags=range(1 - kernel if axis else 0, kernel))
        for axis, (size, kernel, dilation, (before, _), out) in enumerate(
            zip(geometry.in_size, geometry.kernel, geometry.dilation, geometry.padding, geometry.out_size, strict=True)
        )
    )
