"""How much a part of a step does, as a few numbers for each class of operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from kfc_bench.prediction.operations import KINDS, MULTIPLYING, OVERHEAD, Operation
from kfc_bench.prediction.replay import Replay
from kfc_bench.spans import Key

Amounts = NDArray[np.float64]
"""One number for each of `UNITS`."""

UNITS: tuple[tuple[str, str], ...] = tuple(
    (kind, unit)
    for kind in KINDS
    for unit in ("call", "byte", "flop")
    if unit == "call" or (unit == "byte" and kind != OVERHEAD) or (unit == "flop" and kind in MULTIPLYING)
)
"""What is counted: calls of each class, bytes where any are moved, FLOPs where those are what counts."""

_PLACES = {unit: place for place, unit in enumerate(UNITS)}


def counted(operations: Iterable[Operation]) -> Amounts:
    """Add up operations.

    Args:
        operations: Any number of them.

    Returns:
        Their calls, bytes and FLOPs by class.
    """
    found = np.zeros(len(UNITS))
    for operation in operations:
        for unit, amount in (("call", 1.0), ("byte", operation.bytes), ("flop", operation.flops)):
            place = _PLACES.get((operation.kind, unit))
            if place is not None:
                found[place] += amount
    return found


def per_step(gone: Replay, statistics_every: int, inverses_every: int) -> dict[Key, Amounts]:
    """Spread what a step does now and then over the steps of its period.

    Args:
        gone: The steps.
        statistics_every: T_s.
        inverses_every: T_f.

    Returns:
        By phase and layer, what a step does in the mean.
    """
    found: dict[Key, Amounts] = {}
    weighted: list[tuple[Mapping[Key, Iterable[Operation]], int]] = [
        (gone.every, 1),
        (gone.statistics, statistics_every),
        (gone.inverses, inverses_every),
    ]
    for work, every in weighted:
        for key, operations in work.items():
            found[key] = found.get(key, np.zeros(len(UNITS))) + counted(operations) / every
    return found
