"""What is held at each moment of a computation whose tensors have shapes but no numbers, and what each part of it does."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kfc_bench.prediction.operations import Operation, described, tensors
from kfc_bench.spans import Key, Listener

PAGE_BYTES = {"cpu": 1, "cuda": 512}
"""To multiples of what the allocator gives memory out."""


class Sequences:
    """Which layer made which nodes of the graph, by the numbers that autograd gives them."""

    def __init__(self) -> None:
        self._layers: dict[int, str] = {}

    @staticmethod
    def now() -> int:
        """Return the number that the next node gets."""
        number: int = torch._C._autograd._get_sequence_nr()
        return number

    def mark(self, first: int, layer: str) -> None:
        """Note that all nodes since ``first`` are a layer's, but for those of layers inside it."""
        for number in range(first, self.now()):
            self._layers.setdefault(number, layer)

    def current(self) -> str | None:
        """Return the layer whose node autograd's engine is at; None outside of it."""
        node = torch._C._current_autograd_node()
        return None if node is None else self._layers.get(node._sequence_nr(), "")


class Ledger(TorchDispatchMode, Listener):
    """Listens to every operation, and to the spans that say where in a training step it stands.

    Questions whose answer is a number are answered with yes, or 1: all is finite, all matrices are definite.

    Attributes:
        held: Bytes of all tensors alive.
        peak: The most so far.
        work: By phase and layer, the operations since `begin`.
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        Listener.__init__(self)
        self.held = self.peak = 0
        self.work: dict[Key, list[Operation]] = defaultdict(list)
        self.sequences = Sequences()
        self._known: set[int] = set()

    def border(self, key: Key) -> None:
        """Note nothing: an operation asks where it stands."""

    def begin(self) -> None:
        """Forget the operations so far, and the peak, not what is held."""
        self.work = defaultdict(list)
        self.peak = self.held

    def _key(self) -> Key:
        phase, layer = self.current
        if not layer and phase in ("backward", "sampled backward"):
            return phase, self.sequences.current() or ""
        return phase, layer

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation on shapes, and note what it does and what it holds."""
        keywords = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            return args[0].dtype == torch.bool or 1
        given = {tensor.untyped_storage()._cdata for tensor in tensors((args, keywords))}
        result = func(*args, **keywords)
        found = tensors(result)
        writes = func._schema.is_mutable
        is_view = not writes and bool(found) and all(out.untyped_storage()._cdata in given for out in found)
        operation = described(func, args, keywords, result, is_view=is_view)
        self.work[self._key()].append(operation)
        for tensor in found:
            self._note(tensor)
        self.peak = max(self.peak, self.held + operation.scratch)
        return result

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place in self._known:
            return
        page = PAGE_BYTES.get(tensor.device.type, 1)
        size = -(-storage.nbytes() // page) * page
        self._known.add(place)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._forget, place, size)

    def _forget(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.held -= size
