"""Marks the forward and backward passes of a network module by module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils._pytree import tree_leaves

from kfc_bench.spans import Listener


def _nodes(values: object) -> list[Node]:
    """Return the autograd nodes that tensors come from."""
    return [leaf.grad_fn for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]


class _Marks:
    """The hooks of one network.

    A module is a span of its forward pass within whatever phase it runs in. In the backward pass a module begins where
    the node of its output does, and ends where the next node with an owner begins: the node that a module's input
    comes from belongs to the module that returned it, or, where none did (a residual sum), to the module around.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._owned: set[Node] = set()

    def before(self, name: str, module: nn.Module, arguments: object, keywords: object) -> None:  # noqa: ARG002
        around = self._listener.current[1]
        for node in _nodes((arguments, keywords)):
            self._own(node, around if isinstance(around, str) else "")
        self._listener.enter(self._listener.current[0], name)

    def after(self, name: str, module: nn.Module, arguments: object, output: object) -> None:  # noqa: ARG002
        for node in _nodes(output):
            self._own(node, name)
        self._listener.leave()

    def _own(self, node: Node, name: str) -> None:
        if node not in self._owned:
            self._owned.add(node)
            node.register_prehook(partial(self._switch, name))

    def _switch(self, name: str, gradients: Any) -> None:  # noqa: ARG002
        self._listener.switch(name)

    def forget(self, *_: object) -> None:
        """Let go of the graph, which must not outlive its step; its hooks stay on it."""
        self._owned.clear()


@contextmanager
def marked_passes(model: nn.Module, listener: Listener) -> Iterator[None]:
    """Tell a listener of each module's part in the passes of a network, wherever it is called inside.

    ``nn.Sequential`` does nothing of its own and is left out.

    Args:
        model: The network.
        listener: Who is told; spans of the phases must be told to it too.
    """
    marks = _Marks(listener)
    handles: list[Any] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Sequential):
            handles.append(module.register_forward_pre_hook(partial(marks.before, name), with_kwargs=True))
            handles.append(module.register_forward_hook(partial(marks.after, name)))
    handles.append(model.register_forward_hook(marks.forget))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
