"""Time by span within one call, without a pause between spans."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

from kfc_bench.measure.stream import CudaStream, Stream
from kfc_bench.spans import OTHER, Key, Listener


class Timer(Protocol):
    """Takes marks in time; what they say is read once all is over."""

    def settle(self) -> None:
        """Wait until nothing is under way."""

    def mark(self) -> Any:
        """Note where time stands, in the work queued so far."""

    def between(self, marks: Sequence[Any]) -> list[float]:
        """Return seconds from each mark to the next."""


class CpuTimer:
    """The host's own clock."""

    mark = staticmethod(time.perf_counter)

    def settle(self) -> None:
        """Return at once: the host waits for its own calls."""

    def between(self, marks: Sequence[float]) -> list[float]:
        """Return seconds from each mark to the next."""
        return [end - begin for begin, end in pairwise(marks)]


class CudaTimer:
    """Events on the current stream: the device's time, and that in which it waits for the host.

    Args:
        stream: Where the work is queued.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.mark = stream.mark

    def settle(self) -> None:
        """Wait for the device."""
        self._stream.synchronize()

    def between(self, marks: Sequence[Any]) -> list[float]:
        """Wait for the last event; return seconds from each to the next."""
        marks[-1].synchronize()
        return [begin.elapsed_time(end) / 1e3 for begin, end in pairwise(marks)]


def timer_for(device: str) -> Timer:
    """Return a timer for ``"cpu"`` or ``"cuda"``."""
    return CudaTimer(CudaStream(flushes=False)) if device == "cuda" else CpuTimer()


class Stopwatch(Listener):
    """Adds up the seconds of each key.

    Args:
        timer: Takes the marks.
    """

    def __init__(self, timer: Timer) -> None:
        super().__init__()
        self._timer = timer
        self._marks: list[Any] = []
        self._keys: list[Key] = []

    def border(self, key: Key) -> None:
        """Take a mark."""
        self._marks.append(self._timer.mark())
        self._keys.append(key)

    def time(self, run: Callable[[], object]) -> dict[Key, float]:
        """Run once.

        Args:
            run: A call whose spans are told to this stopwatch.

        Returns:
            Seconds by key, in the order in which they ended, `OTHER` among them; they add up to the whole call.
        """
        self._timer.settle()
        self._marks.clear()
        self._keys.clear()
        self.border(OTHER)
        run()
        self.border(OTHER)
        seconds: dict[Key, float] = {}
        for key, value in zip(self._keys, self._timer.between(self._marks), strict=False):
            # Put in anew each time, so that what comes last in the call is last.
            seconds[key] = seconds.pop(key, 0.0) + value
        return seconds


def seconds_of(run: Callable[[], object], timer: Timer) -> float:
    """Time one call as a whole.

    Args:
        run: The call.
        timer: Takes the marks.

    Returns:
        Seconds.
    """
    timer.settle()
    begin = timer.mark()
    run()
    (seconds,) = timer.between([begin, timer.mark()])
    return seconds
