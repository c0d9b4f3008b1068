"""What the CUDA clock asks of a device's stream."""

from __future__ import annotations

from typing import Any, Protocol

import torch


class Event(Protocol):
    """A mark in the stream, as `torch.cuda.Event` is one."""

    def query(self) -> bool:
        """Return whether the device has passed it."""

    def synchronize(self) -> None:
        """Wait until the device has passed it."""

    def elapsed_time(self, end_event: Any) -> float:
        """Return milliseconds on the device from here to a later event that has passed."""


class Stream(Protocol):
    """A queue of work on a device; everything but `synchronize` returns once it is queued."""

    def hold(self, cycles: int) -> None:
        """Queue a kernel that does nothing for so many of the device's clock cycles."""

    def flush(self) -> None:
        """Queue a write over as many bytes as the L2 cache holds."""

    def mark(self) -> Event:
        """Queue an event and return it."""

    def synchronize(self) -> None:
        """Wait until everything queued has run."""


class CudaStream:
    """The current stream of the current CUDA device.

    Args:
        flushes: Whether `flush` will be called: the buffer it writes, exactly as large as the L2 cache, is allocated
            here, so that no sample pays for it.
    """

    def __init__(self, *, flushes: bool) -> None:
        size = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size if flushes else 0
        self._buffer = torch.empty(size, dtype=torch.int8, device="cuda")

    def hold(self, cycles: int) -> None:
        """Queue a kernel that counts the multiprocessor's clock; it ends by itself, whatever the host does."""
        torch.cuda._sleep(cycles)

    def flush(self) -> None:
        """Queue a write over the whole buffer."""
        self._buffer.zero_()

    def mark(self) -> Event:
        """Queue an event with a time stamp and return it."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def synchronize(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize()
