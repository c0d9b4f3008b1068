"""Seconds of one call, on the device that runs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, Protocol

from kfc_bench.measure.stream import CudaStream, Stream

Cache = Literal["cold", "hot"]
"""What a sample finds in the cache: nothing of its own (a GPU's L2, overwritten), or what the call before left."""

SHORTEST_SAMPLE_S = 200e-6
"""A CPU sample repeats its call until it lasts this long; reading the timer adds some 50 ns to each."""

SHORTEST_HOLD = 400_000
LONGEST_HOLD = 102_400_000
"""How long a stream is held, in cycles of its device: from about 0.2 ms to about 50 ms at 2 GHz."""


class Clock(Protocol):
    """Times calls; a sample is seconds per call."""

    def sample(self, run: Callable[[], object]) -> float:
        """Time ``run`` once and return seconds per call."""

    def synchronize(self) -> None:
        """Wait until everything queued has run."""

    @property
    def launch_hidden(self) -> bool | None:
        """Whether every sample is free of launch latency; None where nothing is launched."""


class CpuClock:
    """Wall clock of the host, warm caches; short calls are repeated within one sample.

    ``torch.utils.benchmark`` takes all its samples of one call in a row. Here samples are taken one at a time, so
    that visits of several cases interleave. Threads are torch's own; the environment record holds their number.
    """

    launch_hidden = None

    def sample(self, run: Callable[[], object]) -> float:
        """Time ``run`` and return seconds per call."""
        calls = 0
        start = time.perf_counter()
        while True:
            run()
            calls += 1
            elapsed = time.perf_counter() - start
            if elapsed >= SHORTEST_SAMPLE_S:
                return elapsed / calls

    def synchronize(self) -> None:
        """Return at once: the host waits for its own calls."""


class CudaClock:
    """Time between two events on the current stream, which is held busy until the whole sample is queued.

    A sample is queued as: hold; flush of the L2 cache (cold) or the call itself, untimed (hot); event; the call;
    event. If the hold has ended by the time all of it is queued, the device may have waited for the host between two
    launches, so the sample is thrown away and taken again with twice the hold. A call that waits for the device
    itself, or launches more than the stream's queue takes, outlasts every hold: from then on it is timed without
    one, launch latency inside, and `launch_hidden` says so. The hold ends by itself, so nothing can lock up.

    Args:
        cache: ``"cold"`` or ``"hot"``.
        stream: Where the work is queued.
        held: Whether the stream is held at all: not where the host's time is a part of what is measured.
    """

    def __init__(self, cache: Cache, stream: Stream, *, held: bool = True) -> None:
        self._cache, self._stream = cache, stream
        self._first_hold = SHORTEST_HOLD if held else 0
        self._hold: dict[Callable[[], object], int] = {}

    def sample(self, run: Callable[[], object]) -> float:
        """Time ``run`` once and return seconds.

        Args:
            run: Queues work on the stream. It is called once more while the cache is to be hot, and again for every
                sample that is taken again.

        Returns:
            Seconds on the device.
        """
        cycles = self._hold.setdefault(run, self._first_hold)
        seconds, hidden = self._timed(run, cycles)
        while not hidden and cycles:
            cycles = 2 * cycles if cycles < LONGEST_HOLD else 0
            self._hold[run] = cycles
            seconds, hidden = self._timed(run, cycles)
        return seconds

    def _timed(self, run: Callable[[], object], cycles: int) -> tuple[float, bool]:
        if cycles:
            self._stream.hold(cycles)
        held = self._stream.mark()
        if self._cache == "cold":
            self._stream.flush()
        else:
            run()
        begin = self._stream.mark()
        run()
        end = self._stream.mark()
        hidden = cycles > 0 and not held.query()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3, hidden

    def synchronize(self) -> None:
        """Wait for the device."""
        self._stream.synchronize()

    @property
    def launch_hidden(self) -> bool:
        """Whether no call so far had to be timed without a hold."""
        return all(self._hold.values())


def clock_for(device: str, cache: Cache = "hot", *, held: bool = True) -> Clock:
    """Return a new clock.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        cache: ``"cold"``, on CUDA only, or ``"hot"``.
        held: Whether launch latency is kept out, on CUDA.

    Returns:
        The device's clock.

    Raises:
        ValueError: The CPU's caches are to be cold.
    """
    if device == "cuda":
        return CudaClock(cache, CudaStream(flushes=cache == "cold"), held=held)
    if cache == "cold":
        raise ValueError("the CPU's clock keeps caches hot")
    return CpuClock()
