"""The layers of a network that have a Fisher block, and what they see of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from kfc_bench.curvature.approximation import LayerBatch
from kfc_kernels import ConvGeometry

SUPPORTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


class UnsupportedLayerError(ValueError):
    """A parametrized layer has no supported form; the message names it."""


@dataclass(frozen=True)
class Layer:
    """A named layer and its joint gradient, weights and bias side by side."""

    name: str
    module: nn.Module

    def _parameters(self) -> list[Tensor]:
        return [parameter for parameter in (self.module.weight, self.module.bias) if isinstance(parameter, Tensor)]

    @property
    def _groups(self) -> int:
        groups = getattr(self.module, "groups", 1)
        return groups if isinstance(groups, int) else 1

    def joint(self, values: Sequence[Tensor]) -> Tensor:
        """Join a weight-shaped and a bias-shaped tensor to ``[K, D]``, with groups ``[groups, K/groups, D]``."""
        joined = torch.cat([value.flatten(1) if value.ndim > 1 else value.unsqueeze(1) for value in values], dim=1)
        return joined.unflatten(0, (self._groups, -1)) if self._groups > 1 else joined

    def gradient(self, weight_decay: float) -> Tensor | None:
        """Return the joint gradient with the l2 term, ``[K, D]``; None where the layer took no part."""
        gradients = []
        for parameter in self._parameters():
            if parameter.grad is None:
                return None
            gradients.append(parameter.grad.add(parameter, alpha=weight_decay) if weight_decay else parameter.grad)
        return self.joint(gradients)

    def split(self, joint: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Cut a joint tensor back, paired with the parameters that it belongs to."""
        rows = joint.flatten(0, 1) if self._groups > 1 else joint
        columns = [parameter[0].numel() if parameter.ndim > 1 else 1 for parameter in self._parameters()]
        return [
            (parameter, piece.reshape(parameter.shape))
            for parameter, piece in zip(self._parameters(), rows.split(columns, dim=1), strict=True)
        ]


def find_layers(model: nn.Module) -> list[Layer]:
    """List the trainable layers of a network in the order of their registration.

    Args:
        model: The network.

    Returns:
        Its convolution and linear layers with trainable parameters.

    Raises:
        UnsupportedLayerError: A layer with trainable parameters has no supported form, is trainable in part,
            or shares a parameter with another.
    """
    layers: list[Layer] = []
    owners: dict[int, str] = {}
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if not any(parameter.requires_grad for parameter in own):
            continue
        label = f"layer {name!r} ({type(module).__name__})"
        if not isinstance(module, SUPPORTED):
            kinds = ", ".join(kind.__name__ for kind in SUPPORTED)
            raise UnsupportedLayerError(
                f"{label} has trainable parameters but no supported Fisher block: {kinds} have one; "
                "freeze it with requires_grad_(False) or replace it"
            )
        if not all(parameter.requires_grad for parameter in own):
            raise UnsupportedLayerError(
                f"{label} is trainable in part: freeze both its weight and its bias, or neither"
            )
        for parameter in own:
            if id(parameter) in owners:
                raise UnsupportedLayerError(f"{label} shares a parameter with layer {owners[id(parameter)]!r}")
            owners[id(parameter)] = name
        layers.append(Layer(name, module))
    if not layers:
        raise UnsupportedLayerError(f"{type(model).__name__} has no trainable layer")
    return layers


class Capture:
    """Hooks that keep, while enabled, each layer's input and a handle on the gradient of its output.

    Construct it before any ``torch.compile``. The handle is a gradient edge, not the output tensor, so that
    a nonlinearity that overwrites the output does no harm.

    Args:
        model: The network.
        layers: Its layers, from `find_layers`.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer]) -> None:
        self.enabled = True
        self._layers = list(layers)
        self._seen: dict[str, tuple[Tensor, GradientEdge]] = {}
        self._handles = [model.register_forward_pre_hook(self._begin)]
        for layer in self._layers:
            self._handles.append(layer.module.register_forward_hook(self._hook(layer)))

    def _begin(self, *_: object) -> None:
        """Forget the last forward pass, unless this one only evaluates: a backward pass may still follow that one."""
        if torch.is_grad_enabled():
            self._seen.clear()

    def _hook(self, layer: Layer) -> Any:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG001
            if not self.enabled or not output.requires_grad:
                return
            if layer.name in self._seen:
                raise UnsupportedLayerError(
                    f"layer {layer.name!r} ran twice in one forward pass; shared layers have no form yet"
                )
            self._seen[layer.name] = (inputs[0].detach(), get_gradient_edge(output))

        return keep

    def backpropagate(self, outputs: Tensor, vectors: Tensor) -> list[LayerBatch]:
        """Backpropagate vectors from the network's outputs to the outputs of each layer; the graph is kept.

        Args:
            outputs: ``[N, C]``, of the forward pass just captured.
            vectors: ``[V, N, C]``.

        Returns:
            One batch per layer.

        Raises:
            RuntimeError: A layer did not run while the capture was enabled.
        """
        silent = [layer.name for layer in self._layers if layer.name not in self._seen]
        if silent:
            raise RuntimeError(
                f"layer {silent[0]!r} did not run in the last forward pass: call the model itself, "
                "with gradients enabled, and build the optimizer before torch.compile"
            )
        edges = [self._seen[layer.name][1] for layer in self._layers]
        passes = [torch.autograd.grad(outputs, edges, vector, retain_graph=True) for vector in vectors]
        batches = []
        for layer, *gradients in zip(self._layers, *passes, strict=True):
            inputs, stacked = self._seen[layer.name][0], torch.stack(gradients)
            geometry = ConvGeometry.from_module(layer.module, inputs)
            if isinstance(layer.module, nn.Linear):
                inputs, stacked = inputs.movedim(-1, 1), stacked.movedim(-1, 2)
            batches.append(LayerBatch(geometry, inputs, stacked))
        self._seen.clear()
        return batches

    def remove(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()
