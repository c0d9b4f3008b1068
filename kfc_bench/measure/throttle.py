"""Which visits a throttled device spoiled, and what becomes of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kfc_bench.measure.telemetry import Reading, Telemetry

SPOILS = frozenset(
    {"hardware slowdown", "hardware thermal slowdown", "software thermal slowdown", "power brake"},
)
"""Reasons for which a visit is throttled. The software's power cap is not one: heavy work runs at it all the time."""

EXPLAINS = frozenset({"idle", "application clocks", "power cap", "sync boost", "display clocks"})
"""Reasons why a low clock is as it should be, or says nothing about the visit before."""

LEAST_CLOCK = 0.75
"""Share of the highest clock under which a visit is throttled, if no reason explains it (nvbench's share)."""

RETRIES = 8
FIRST_SLEEP_S = 0.25
LONGEST_SLEEP_S = 4.0
"""Visits set aside at the most, by case, and the sleeps after them, each twice as long as the one before."""


def throttled_by(before: Reading, after: Reading) -> str | None:
    """Judge a visit by the readings around it.

    Args:
        before: Right before its first sample.
        after: Right after its last.

    Returns:
        Why the visit is throttled; None if it is not, or nothing is known.
    """
    found = ((before.reasons or frozenset()) | (after.reasons or frozenset())) & SPOILS
    if found:
        return min(found)
    if after.sm_clock_mhz is None or after.max_sm_clock_mhz is None or (after.reasons or frozenset()) & EXPLAINS:
        return None
    return "low clock" if after.sm_clock_mhz < LEAST_CLOCK * after.max_sm_clock_mhz else None


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


@dataclass
class Watch:
    """Looks at the device around each visit of one case.

    A throttled visit is set aside, the process sleeps, and another is taken. Once `RETRIES` of them or the patience are
    spent, the case's visits are kept as they are, so that it ends, and with a time.

    Attributes:
        telemetry: The device's sensors.
        patience_s: Seconds of sleep that are left.
        sleep: Sleeps so many seconds.
        set_aside: Visits set aside.
        kept: Why each visit that was throttled and kept was.
        readings: What was read after each visit that counts.
    """

    telemetry: Telemetry
    patience_s: float = math.inf
    sleep: Callable[[float], None] = time.sleep
    set_aside: int = 0
    kept: list[str] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)

    def take(self, visit: Callable[[], object], drop: Callable[[], object], warm: Callable[[], object]) -> None:
        """Take one visit that counts.

        Args:
            visit: Takes a visit.
            drop: Undoes the visit before: it was throttled.
            warm: Brings the device, idle for as long as the process slept, back to the clocks of work.
        """
        while (reason := self._visited(visit)) is not None:
            pause = min(FIRST_SLEEP_S * 2**self.set_aside, LONGEST_SLEEP_S)
            if self.set_aside >= RETRIES or pause > self.patience_s:
                self.kept.append(reason)
                return
            drop()
            self.readings.pop()
            self.set_aside += 1
            self.patience_s -= pause
            self.sleep(pause)
            warm()

    def _visited(self, visit: Callable[[], object]) -> str | None:
        before = self.telemetry.read()
        visit()
        after = self.telemetry.read()
        self.readings.append(after)
        return throttled_by(before, after)

    def forget(self) -> None:
        """Forget the visits that count: they are to be taken again. What was set aside stays counted."""
        self.kept.clear()
        self.readings.clear()

    @property
    def throttled(self) -> int | None:
        """Throttled visits, set aside or kept; None where the device tells nothing to judge by."""
        silent = all(reading.reasons is None and reading.sm_clock_mhz is None for reading in self.readings)
        return None if silent else self.set_aside + len(self.kept)

    @property
    def remark(self) -> str | None:
        """One line about throttled visits that were kept; None if there are none."""
        if not self.kept:
            return None
        return f"{len(self.kept)} of {len(self.readings)} visits count though the GPU throttled: {min(self.kept)}"

    def columns(self) -> dict[str, float | None]:
        """Return the medians over the visits that count, under the record's names."""
        return {
            name: _median([getattr(reading, name) for reading in self.readings])
            for name in ("sm_clock_mhz", "temperature_c", "power_w")
        }
