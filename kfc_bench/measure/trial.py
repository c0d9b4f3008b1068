"""Choosing the quickest of several ways to do the same."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence

from kfc_bench.measure.clock import Clock

TRIALS = 9


def quickest(runs: Sequence[Callable[[], object]], clock: Clock, seconds: float = math.inf) -> int:
    """Return the place of the call with the least median time; nothing runs where there is one.

    Args:
        runs: The calls: each runs once untimed, then all in turn, `TRIALS` times.
        clock: Times them.
        seconds: After which no further turn begins; one is taken at least.

    Returns:
        An index.
    """
    if len(runs) == 1:
        return 0
    end = time.monotonic() + seconds
    for run in runs:
        run()
    rounds = [[clock.sample(run) for run in runs]]
    while len(rounds) < TRIALS and time.monotonic() < end:
        rounds.append([clock.sample(run) for run in runs])
    medians = [statistics.median(samples) for samples in zip(*rounds, strict=True)]
    return medians.index(min(medians))
