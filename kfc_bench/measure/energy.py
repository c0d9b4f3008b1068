"""Joules of one call, from the device's own counter."""

from __future__ import annotations

import time
from collections.abc import Callable

from kfc_bench.measure.telemetry import Telemetry

LOOP_S = 1.0
"""Seconds between the two readings at the least: the counter moves every 20 to 100 ms."""

BATCH_S = 10e-3
"""Seconds for which calls are queued without a look at the counter."""

STILL_S = 1.0
"""A counter that has not moved for so many seconds under load does not count."""


class _Loop:
    """Calls in batches, each waited for."""

    def __init__(self, run: Callable[[], object], synchronize: Callable[[], None], now: Callable[[], float]) -> None:
        self._run, self._synchronize, self._now = run, synchronize, now
        self._batch = 1
        self.calls = 0

    def batch(self) -> None:
        """Run one batch; the next is twice as long if this one was short."""
        start = self._now()
        for _ in range(self._batch):
            self._run()
        self._synchronize()
        self.calls += self._batch
        if self._now() - start < BATCH_S / 2:
            self._batch *= 2

    def until_moved(self, counter: Callable[[], float | None]) -> float | None:
        """Run batches until the counter moves, and return it; None if it stands still."""
        start, first = self._now(), counter()
        while self._now() - start < STILL_S:
            self.batch()
            value = counter()
            if value != first:
                return value
        return None


def joules_per_call(
    run: Callable[[], object],
    telemetry: Telemetry,
    synchronize: Callable[[], None],
    now: Callable[[], float] = time.perf_counter,
) -> float | None:
    """Run a call over and over for at least `LOOP_S` and divide what the device drew meanwhile.

    The loop is measured from one step of the counter to another. Nothing is taken off for the device at rest.

    Args:
        run: The call.
        telemetry: Has the counter.
        synchronize: Waits for the device.
        now: Seconds of the host's clock.

    Returns:
        Joules; None if the device counts none.
    """
    if telemetry.energy_j() is None:
        return None
    loop = _Loop(run, synchronize, now)
    first = loop.until_moved(telemetry.energy_j)
    start, before = now(), loop.calls
    while now() - start < LOOP_S:
        loop.batch()
    last = loop.until_moved(telemetry.energy_j)
    return None if first is None or last is None else (last - first) / (loop.calls - before)
