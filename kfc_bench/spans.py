"""Where in a training step the program is: named spans, told to whoever listens and nearly free where nobody does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType

Layers = str | tuple[str, ...]
"""A layer's name, the names of all layers that one call serves, or nothing for what belongs to none."""

Key = tuple[str, Layers]
"""A phase and its layers."""

OTHER: Key = ("other", "")
"""Outside of all spans."""


class Listener(ABC):
    """Is told at every border between spans which key begins there: time is the innermost span's.

    Spans may begin in one thread and be switched in another, as autograd's engine does, but one at a time.
    """

    def __init__(self) -> None:
        self._open: list[Key] = [OTHER]

    @property
    def current(self) -> Key:
        """The innermost span's key."""
        return self._open[-1]

    def enter(self, phase: str, layer: Layers = "") -> None:
        """Begin a span inside the current one."""
        self._open.append((phase, layer))
        self.border(self._open[-1])

    def leave(self) -> None:
        """End the innermost span; the one around it goes on."""
        self._open.pop()
        self.border(self._open[-1])

    def switch(self, layer: Layers) -> None:
        """Let the innermost span go on as another layer's."""
        self._open[-1] = (self._open[-1][0], layer)
        self.border(self._open[-1])

    @abstractmethod
    def border(self, key: Key) -> None:
        """Take note that the key begins here."""


class _Span:
    """One span, for ``with``."""

    __slots__ = ("_layer", "_listener", "_phase")

    def __init__(self, listener: Listener, phase: str, layer: Layers) -> None:
        self._listener, self._phase, self._layer = listener, phase, layer

    def __enter__(self) -> None:
        self._listener.enter(self._phase, self._layer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.leave()


_NOTHING = nullcontext()
_listeners: list[Listener] = []


def span(phase: str, layer: Layers = "") -> AbstractContextManager[None]:
    """Mark what runs inside as a phase of a training step.

    Args:
        phase: Its name.
        layer: As in ``named_modules``; a tuple of names where one call serves several layers.

    Returns:
        A context manager.
    """
    return _Span(_listeners[0], phase, layer) if _listeners else _NOTHING


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener of every span inside.

    Args:
        listener: Who is told.

    Raises:
        RuntimeError: Another one listens.
    """
    if _listeners:
        raise RuntimeError("another listener is at work: spans have one at a time")
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.clear()
