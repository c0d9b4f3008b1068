"""How much a part of a step does, as a few numbers for each class of operations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kfc_bench.prediction.operations import KINDS, MULTIPLYING, OVERHEAD, Operation
from kfc_bench.prediction.replay import Replay
from kfc_bench.spans import OTHER, Key

Amounts = NDArray[np.float64]
"""One number for each of `UNITS`."""

UNITS: tuple[tuple[str, str], ...] = tuple(
    (kind, unit)
    for kind in KINDS
    for unit in ("call", "byte", "flop")
    if unit == "call" or (unit == "byte" and kind != OVERHEAD) or (unit == "flop" and kind in MULTIPLYING)
)
"""What is counted: calls of each class, bytes where any are moved, FLOPs where those are what counts."""

OF_INVERSES = ("inverse",)
"""Phases of the inverses; what else comes with a full step are the statistics."""

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


@dataclass(frozen=True)
class Often:
    """What a part of a step does, by how often.

    Attributes:
        always: At each step.
        seldom: Beyond that, at a step with statistics and inverses.
        of_inverses: Whether what is beyond belongs to the inverses.
    """

    always: Amounts
    seldom: Amounts
    of_inverses: bool

    def per_step(self, statistics_every: int, inverses_every: int) -> Amounts:
        """Spread it over the steps of its period, T_s or T_f."""
        return self.always + self.seldom / (inverses_every if self.of_inverses else statistics_every)


def by_part(gone: Replay) -> dict[Key, Often]:
    """Count what each part of a step does.

    Args:
        gone: The steps.

    Returns:
        By phase and layer; what belongs to none is left out.
    """
    found = {}
    for key in dict.fromkeys((*gone.full, *gone.plain)):
        full, plain = (counted(work.get(key, ())) for work in (gone.full, gone.plain))
        if key != OTHER:
            found[key] = Often(plain, np.maximum(full - plain, 0.0), key[0] in OF_INVERSES)
    return found
