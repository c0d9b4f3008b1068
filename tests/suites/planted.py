"""A plugin for the `pytest` under test: what PLANTED names is put in the place of the real thing.

``steady``: times of ten milliseconds with one per cent of noise; ``slower``: steady, but `precondition` takes a fifth
longer; ``uneven``: seven and twelve milliseconds in turn, each long enough to be a visit of its own;
``wrong``: a gate that nothing passes; ``unsupported``: an implementation that declines.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable

from kfc_bench.experiments.cost import measurement
from kfc_bench.measure import ceilings
from kfc_bench.measure.clock import CpuClock
from kfc_kernels import UnsupportedError

NOISE = random.Random(0)


class PlantedClock(CpuClock):
    """Says what it was told, without running anything."""

    def __init__(self, slower: str | None = None) -> None:
        self._slower = slower

    def sample(self, run: Callable[[], object]) -> float:
        slow = self._slower is not None and self._slower in run.__qualname__
        return 1e-2 * NOISE.gauss(1, 0.01) * (1.2 if slow else 1.0)


class UnevenClock(CpuClock):
    """Times whose median stays in doubt, however many samples the warm-up has used up."""

    def __init__(self) -> None:
        self._times = itertools.cycle([7e-3, 12e-3])

    def sample(self, _: Callable[[], object]) -> float:
        return next(self._times)


# One sample of each: nobody looks at the ceilings beside times that are planted.
ceilings.LEAST_S = ceilings.MOST_S = 0.0


def declined(*_: object, **__: object) -> None:
    raise UnsupportedError("it takes no such geometry")


match os.environ["PLANTED"]:
    case "steady":
        measurement.clock_for = lambda *_, **__: PlantedClock()
    case "uneven":
        measurement.clock_for = lambda *_, **__: UnevenClock()
    case "slower":
        measurement.clock_for = lambda *_, **__: PlantedClock("precondition")
    case "wrong":
        measurement.error_gate = lambda **_: 0.0
    case "unsupported":
        measurement.build = declined
