"""The autocovariance method as tables for a kernel: sums over boxes of pixels, and the blocks made of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from kfc_kernels.input_factor.windows import Axis

Box = tuple[tuple[int, int], ...]
"""Where the first pixels of pairs lie: from one pixel to before another, per axis."""


@dataclass(frozen=True)
class Item:
    """Sums that a program forms together: lags in arithmetic progression over one box.

    Attributes:
        box: Where the pairs' first pixels lie.
        lag: The first lag, counted through the half-space row by row.
        step: From one lag to the next.
        slots: Where each lag's sums go, consecutive.
    """

    box: Box
    lag: int
    step: int
    slots: range


@dataclass(frozen=True)
class Plan:
    """What to sum, and how the factor's blocks come from the sums.

    Attributes:
        items: The sums to form.
        slots: How many sums there are.
        terms: For each pair of kernel offsets, the sums to add (slot + 1) and to take off (-slot - 1); of a pair in
            reverse order, those that are to be transposed.
    """

    items: tuple[Item, ...]
    slots: int
    terms: tuple[tuple[int, ...], ...]


def missed_box(axis: Axis, lag: int, at_end: bool, depth: int) -> tuple[int, int]:
    """Return where the first pixels of the outermost ``depth`` pairs at ``lag`` lie."""
    first, _ = axis.overlap(lag)
    return (first.stop - depth, first.stop) if at_end else (first.start, first.start + depth)


def parts_of(axis: Axis, first: int, second: int) -> list[tuple[int, tuple[int, int]]]:
    """Write a window as signed ranges of first pixels: the whole map, less what is missed at either end."""
    ranges = [(1, (0, axis.size))]
    for at_end, depth in enumerate(axis.missed(first, second)):
        ranges += [(-1, missed_box(axis, second - first, bool(at_end), depth))] if depth else []
    return ranges


def lag_number(axes: Sequence[Axis], lag: Sequence[int]) -> int:
    """Count a lag of the half-space, lag 0 first; the last axis counts fastest, through all its lags."""
    number = 0
    for axis, part in zip(axes, lag, strict=True):
        number = number * (2 * axis.kernel - 1) + part
    return number


def progressions(numbers: Sequence[int], longest: int) -> list[tuple[int, int, int]]:
    """Cut ascending numbers into arithmetic progressions.

    Args:
        numbers: What to cut.
        longest: Most numbers of a progression.

    Returns:
        First number, step and length of each.
    """
    runs = []
    place = 0
    while place < len(numbers):
        step = numbers[place + 1] - numbers[place] if place + 1 < len(numbers) else 1
        length = 1
        while (
            length < longest
            and place + length < len(numbers)
            and numbers[place + length] - numbers[place + length - 1] == step
        ):
            length += 1
        runs.append((numbers[place], step, length))
        place += length
    return runs


@lru_cache(maxsize=256)
def plan(axes: tuple[Axis, ...], lags_together: int) -> Plan:
    """Plan the sums of a stride-1 layer.

    Args:
        axes: The layer's axes.
        lags_together: Most lags of an item.

    Returns:
        The plan.
    """
    elements = list(itertools.product(*(range(axis.kernel) for axis in axes)))
    wanted: dict[Box, set[int]] = {}
    blocks = []
    for pair in itertools.product(elements, elements):
        first, second = sorted(pair)
        number = lag_number(axes, [j - i for i, j in zip(first, second, strict=True)])
        terms = []
        for parts in itertools.product(*map(parts_of, axes, first, second)):
            box, sign = tuple(span for _, span in parts), 1
            for part_sign, _ in parts:
                sign *= part_sign
            wanted.setdefault(box, set()).add(number)
            terms.append((sign, box, number))
        blocks.append(terms)
    items: list[Item] = []
    slot_of: dict[tuple[Box, int], int] = {}
    for box, numbers in wanted.items():
        for lag, step, length in progressions(sorted(numbers), lags_together):
            slots = range(len(slot_of), len(slot_of) + length)
            items.append(Item(box, lag, step, slots))
            slot_of |= {(box, lag + step * place): slot for place, slot in enumerate(slots)}
    signed = tuple(tuple(sign * (slot_of[box, number] + 1) for sign, box, number in terms) for terms in blocks)
    return Plan(tuple(items), len(slot_of), signed)
