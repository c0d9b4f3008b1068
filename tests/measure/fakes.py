"""Devices whose time is a number, so that what measures them is tested without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kfc_bench.measure.telemetry import Reading

CYCLES_PER_S = 2e9


@dataclass(frozen=True)
class FakeEvent:
    """A mark: when the device passes it."""

    stream: FakeStream
    at: float

    def query(self) -> bool:
        return self.stream.host >= self.at

    def synchronize(self) -> None:
        self.stream.host = max(self.stream.host, self.at)

    def elapsed_time(self, end_event: Any) -> float:
        assert end_event.query(), "read before it has passed"
        return 1e3 * (end_event.at - self.at)


@dataclass
class FakeStream:
    """A host that queues kernels, each after so many seconds, and a device that runs them in order.

    Where as many kernels wait as the queue takes, the host waits for the device.
    """

    launch_s: float = 5e-6
    flush_s: float = 20e-6
    queue: int = 1000
    host: float = 0.0
    device: float = 0.0
    log: list[str] = field(default_factory=list)
    holds: list[int] = field(default_factory=list)
    _ends: list[float] = field(default_factory=list)

    def kernel(self, seconds: float, name: str = "kernel") -> None:
        """Queue work."""
        self.host += self.launch_s
        if len(self._ends) >= self.queue:
            self.host = max(self.host, self._ends[-self.queue])
        self.device = max(self.device, self.host) + seconds
        self._ends.append(self.device)
        self.log.append(name)

    def hold(self, cycles: int) -> None:
        self.holds.append(cycles)
        self.kernel(cycles / CYCLES_PER_S, "hold")

    def flush(self) -> None:
        self.kernel(self.flush_s, "flush")

    def mark(self) -> FakeEvent:
        self.log.append("event")
        return FakeEvent(self, max(self.device, self.host))

    def synchronize(self) -> None:
        self.host = max(self.host, self.device)


@dataclass
class FakeTelemetry:
    """Sensors that give one reading after the other, the last for ever, and a counter that moves in steps."""

    readings: list[Reading] = field(default_factory=lambda: [Reading()])
    now: Callable[[], float] = lambda: 0.0
    watts: float | None = None
    step_s: float = 0.1

    def read(self) -> Reading:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]

    def energy_j(self) -> float | None:
        return None if self.watts is None else self.watts * (self.now() // self.step_s) * self.step_s
