"""What a computation holds at each moment and does in each part, told of tensors that have shapes but no numbers."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kfc_bench.prediction.operations import RELEASE, Operation, described, tensors
from kfc_bench.spans import Key, Listener

PAGE_BYTES = {"cpu": 1, "cuda": 512}
"""To multiples of what the allocator gives memory out."""


class Ledger(TorchDispatchMode, Listener):
    """Listens to every operation, and to the spans that say where in a training step it stands.

    Questions whose answer is a number are answered with yes, or 1: all is finite, all matrices are definite.

    Args:
        kind: Of the device whose memory is counted, ``"cpu"`` or ``"cuda"``.

    Attributes:
        held: Bytes of all tensors alive.
        peak: The most so far.
        fresh_peak: The most that was alive of what has come since `begin`. A profiler that starts there sees no more:
            it is not told of what was there before, and so not of its end.
        work: By phase and layer, the operations since `begin`.
    """

    def __init__(self, kind: str) -> None:
        TorchDispatchMode.__init__(self)
        Listener.__init__(self)
        self.held = self.peak = self.fresh_peak = 0
        self.work: dict[Key, list[Operation]] = defaultdict(list)
        self._page = PAGE_BYTES[kind]
        # A GPU's libraries have workspaces of their own, which nobody can tell beforehand.
        self._counts_scratch = kind == "cpu"
        self._fresh = 0
        self._start = 0
        self._born: dict[int, int] = {}
        self._births = 0

    def border(self, key: Key) -> None:
        """Note nothing: an operation asks where it stands."""

    def begin(self) -> None:
        """Forget the operations so far, and the peaks, not what is held."""
        self.work = defaultdict(list)
        self.peak = self.held
        self._fresh = self.fresh_peak = 0
        self._start = self._births

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the operation on shapes, and note what it does and what it holds."""
        keywords = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            return args[0].dtype == torch.bool or 1
        if func.namespace == "prim":
            return func(*args, **keywords)
        given = {tensor.untyped_storage()._cdata for tensor in tensors((args, keywords))}
        result = func(*args, **keywords)
        found = tensors(result)
        shares = bool(found) and all(out.untyped_storage()._cdata in given for out in found)
        operation = described(func, args, keywords, result, is_view=shares and not func._schema.is_mutable)
        self.work[self.current].append(operation)
        for tensor in found:
            self._note(tensor)
        self._mark(operation.scratch if self._counts_scratch else 0)
        return result

    def _mark(self, scratch: int = 0) -> None:
        self.peak = max(self.peak, self.held + scratch)
        self.fresh_peak = max(self.fresh_peak, self._fresh + scratch)

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place in self._born:
            return
        size = -(-storage.nbytes() // self._page) * self._page
        self._births += 1
        self._born[place] = self._births
        self.held += size
        self._fresh += size
        self._mark()
        weakref.finalize(storage, self._forget, place, size)

    def _forget(self, place: int, size: int) -> None:
        self.held -= size
        if self._born.pop(place) > self._start:
            self._fresh -= size
        self.work[self.current].append(Operation(RELEASE, 0.0, float(size), 0))
