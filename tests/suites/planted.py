"""A plugin for the `pytest` under test: what PLANTED names is put in the place of the real thing.

``steady``: times of ten milliseconds with one per cent of noise; ``noisy``: with forty; ``slower``: steady, but
`precondition` takes a fifth longer;
``wrong``: a gate that nothing passes; ``unsupported``: an implementation that declines.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

from kfc_bench.experiments.cost import measurement
from kfc_bench.measure.clock import CpuClock
from kfc_kernels import UnsupportedError

NOISE = random.Random(0)


class PlantedClock(CpuClock):
    """Says what it was told, without running anything."""

    def __init__(self, slower: str | None = None, noise: float = 0.01) -> None:
        self._slower, self._noise = slower, noise

    def sample(self, run: Callable[[], object]) -> float:
        slow = self._slower is not None and self._slower in run.__qualname__
        return 1e-2 * max(0.1, NOISE.gauss(1, self._noise)) * (1.2 if slow else 1.0)


def declined(*_: object, **__: object) -> None:
    raise UnsupportedError("it takes no such geometry")


match os.environ["PLANTED"]:
    case "steady":
        measurement.clock_for = lambda *_, **__: PlantedClock()
    case "noisy":
        measurement.clock_for = lambda *_, **__: PlantedClock(noise=0.4)
    case "slower":
        measurement.clock_for = lambda *_, **__: PlantedClock("precondition")
    case "wrong":
        measurement.error_gate = lambda **_: 0.0
    case "unsupported":
        measurement.build = declined
