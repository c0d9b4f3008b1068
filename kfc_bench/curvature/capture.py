"""Hooks that keep what each layer sees of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._pytree import tree_map_only

from kfc_bench.curvature.batch import Batch, ExampleBatch, LayerBatch
from kfc_bench.curvature.layers import Layer, UnsupportedLayerError
from kfc_bench.curvature.per_example import module_gradients, scale_shift_gradients
from kfc_bench.spans import span
from kfc_kernels import ConvGeometry


@dataclass(frozen=True)
class _Call:
    """One run of a layer: its arguments, a handle on the gradient of its output, and the mode it ran in."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    edge: GradientEdge
    training: bool

    @property
    def inputs(self) -> Tensor:
        """The input of a layer that takes but one."""
        value: Tensor = self.arguments[0] if self.arguments else self.keywords["input"]
        return value


class Capture:
    """Hooks that keep, while enabled, each layer's inputs and a handle on the gradient of its output.

    Construct it before any ``torch.compile``. The handle is a gradient edge, not the output tensor, so that
    a nonlinearity that overwrites the output does no harm. A copy of the network, or one loaded from a file, has hooks
    that do nothing.

    Args:
        model: The network.
        layers: Its layers, from `find_layers`.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer]) -> None:
        self.enabled = True
        self._layers = list(layers)
        self._seen: dict[str, list[_Call]] = {}
        self._handles = [model.register_forward_pre_hook(self._begin)]
        for layer in self._layers:
            hook = partial(self._keep, layer.name)
            self._handles.append(layer.module.register_forward_hook(hook, with_kwargs=True))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy or pickle as hooks without a layer, whose graphs cannot be copied."""
        return Capture._asleep, ()

    @classmethod
    def _asleep(cls) -> Capture:
        capture = cls.__new__(cls)
        capture.enabled, capture._layers, capture._seen, capture._handles = False, [], {}, []
        return capture

    def _begin(self, *_: object) -> None:
        """Forget the last forward pass, unless this one only evaluates: a backward pass may still follow that one."""
        if torch.is_grad_enabled():
            self._seen.clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the network run without a trace."""
        enabled, self.enabled = self.enabled, False
        try:
            yield
        finally:
            self.enabled = enabled

    def _keep(
        self, name: str, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any
    ) -> None:
        if not self.enabled:
            return
        if not isinstance(output, Tensor):
            raise UnsupportedLayerError(
                f"layer {name!r} ({type(module).__name__}) returns a {type(output).__name__}, not one tensor"
            )
        if output.requires_grad:
            arguments, keywords = tree_map_only(Tensor, Tensor.detach, (arguments, keywords))
            call = _Call(arguments, keywords, get_gradient_edge(output), module.training)
            self._seen.setdefault(name, []).append(call)

    def backpropagate(self, outputs: Tensor, vectors: Tensor, keep: Tensor | None = None) -> list[Batch | None]:
        """Backpropagate vectors from the network's outputs to the outputs of each layer; the graph is kept.

        Args:
            outputs: ``[N, *]``, of the forward pass just captured.
            vectors: ``[V, N, *]``.
            keep: Which examples count, ``[N]``; None for all.

        Returns:
            One batch per layer; None for a layer that did not run, or that the outputs do not depend on.

        Raises:
            RuntimeError: No layer ran while the capture was enabled.
            UnsupportedLayerError: A layer ran several times, on inputs of different sizes, its first axis is not the
                example, or it cannot run example by example.
        """
        calls = [(layer, call) for layer in self._layers for call in self._seen.get(layer.name, [])]
        if not calls:
            raise RuntimeError(
                f"layer {self._layers[0].name!r} did not run in the last forward pass, nor did any other: call the "
                "model itself, with gradients enabled, and build the optimizer before torch.compile"
            )
        edges = [call.edge for _, call in calls]
        with span("sampled backward"):
            passes = [
                torch.autograd.grad(outputs, edges, vector.to(outputs), retain_graph=True, allow_unused=True)
                for vector in vectors
            ]
        found: dict[str, list[tuple[_Call, Tensor]]] = {}
        for (layer, call), gradients in zip(calls, zip(*passes, strict=True), strict=True):
            reached = [gradient for gradient in gradients if gradient is not None]
            if not reached:
                continue
            filled = [reached[0].new_zeros(()).expand_as(reached[0]) if value is None else value for value in gradients]
            stack = torch.stack(filled) if len(filled) > 1 else reached[0].unsqueeze(0)
            if stack.shape[1:2] != outputs.shape[:1]:
                raise UnsupportedLayerError(
                    f"layer {layer.name!r} ({type(layer.module).__name__}) returns {list(stack.shape[1:])} for "
                    f"{len(outputs)} examples: their axis must be the first"
                )
            found.setdefault(layer.name, []).append((call, stack))
        self._seen.clear()
        with self.paused():
            return [_batch(layer, found[layer.name], keep) if layer.name in found else None for layer in self._layers]

    def remove(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()


def _batch(layer: Layer, calls: Sequence[tuple[_Call, Tensor]], keep: Tensor | None) -> Batch:
    """Make one batch of a layer's calls, in the dtype of its parameters, whatever autocast ran it in."""
    dtype = layer.parameters[0].dtype
    if layer.form == "kronecker":
        return _shared(layer, [_positions_last(layer, call, stack, keep, dtype) for call, stack in calls])
    with span("statistics", layer.name):
        per_call = [_example_gradients(layer, call, stack.to(dtype)) for call, stack in calls]
        gradients = torch.stack(per_call).sum(0) if len(per_call) > 1 else per_call[0]
        return ExampleBatch(gradients if keep is None else gradients[:, keep])


def _example_gradients(layer: Layer, call: _Call, stack: Tensor) -> Tensor:
    """Return the gradients of all examples, those that do not count too: a batch's statistics are theirs as well."""
    if layer.form == "scale_shift":
        return scale_shift_gradients(layer, call.inputs.to(stack), stack, training=call.training)
    arguments, keywords = tree_map_only(
        Tensor,
        lambda value: value.to(stack) if value.is_floating_point() else value,
        (call.arguments, call.keywords),
    )
    return module_gradients(layer, arguments, keywords, stack)


def _positions_last(layer: Layer, call: _Call, stack: Tensor, keep: Tensor | None, dtype: torch.dtype) -> LayerBatch:
    inputs, stack = call.inputs.to(dtype), stack.to(dtype)
    if keep is not None:
        inputs, stack = inputs[keep], stack[:, keep]
    geometry = replace(ConvGeometry.from_module(layer.module, inputs), bias=layer.has_bias)
    if isinstance(layer.module, nn.Linear):
        inputs, stack = inputs.movedim(-1, 1), stack.movedim(-1, 2)
    return LayerBatch(geometry, inputs, stack)


def _shared(layer: Layer, batches: Sequence[LayerBatch]) -> LayerBatch:
    """Give a layer that ran several times one more axis, along which its kernel is 1: the gradients of its runs add."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0].geometry
    if any(batch.geometry != first for batch in batches):
        sizes = ", ".join(str(list(batch.geometry.in_size)) for batch in batches)
        raise UnsupportedLayerError(
            f"layer {layer.name!r} ran {len(batches)} times on inputs of sizes {sizes}: shared layers need one size"
        )
    geometry = replace(
        first,
        in_size=(len(batches), *first.in_size),
        kernel=(1, *first.kernel),
        stride=(1, *first.stride),
        padding=((0, 0), *first.padding),
        dilation=(1, *first.dilation),
    )
    return LayerBatch(
        geometry,
        torch.stack([batch.inputs for batch in batches], dim=2),
        torch.stack([batch.output_gradients for batch in batches], dim=3),
    )
