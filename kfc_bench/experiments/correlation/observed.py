"""A chain of convolutions, and what its layers see of a batch: sampled derivatives, and activations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from kfc_bench.curvature.batch import LayerBatch
from kfc_bench.curvature.capture import Capture
from kfc_bench.curvature.layers import Layer, find_layers
from kfc_bench.curvature.likelihoods import sampled_vectors

Quantity = Literal["derivative", "activation"]
POOLINGS: dict[type[nn.Module], str] = {
    nn.MaxPool2d: "max",
    nn.AvgPool2d: "average",
    nn.AdaptiveAvgPool2d: "average",
}


@dataclass(frozen=True)
class ConvLayer:
    """A convolution and what stands behind it.

    Attributes:
        layer: The convolution.
        relu: The first nonlinearity behind it, whose output are the layer's activations.
        pooling: The poolings up to the next convolution: ``"max"``, ``"average"``, or both in their order.
    """

    layer: Layer
    relu: nn.ReLU
    pooling: str


def conv_layers(model: nn.Module) -> list[ConvLayer]:
    """Find the convolutions of a network.

    Args:
        model: Modules that run one after another, with a ReLU behind each convolution.

    Returns:
        The layers, in order.
    """
    layers = {layer.module: layer for layer in find_layers(model)}
    modules = list(model.modules())
    places = [place for place, module in enumerate(modules) if isinstance(module, nn.Conv2d)]
    found = []
    for start, end in zip(places, [*places[1:], len(modules)], strict=True):
        behind = modules[start + 1 : end]
        relu = next(module for module in behind if isinstance(module, nn.ReLU))
        poolings = dict.fromkeys(POOLINGS[type(module)] for module in behind if type(module) in POOLINGS)
        found.append(ConvLayer(layers[modules[start]], relu, ", ".join(poolings)))
    return found


class Watch:
    """Runs batches through a network and keeps what its convolutions see.

    Args:
        model: As for `conv_layers`, in evaluation mode.
        seed: Of the labels that are sampled, one per example.
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        self.layers = conv_layers(model)
        self._model = model
        self._capture = Capture(model, [found.layer for found in self.layers])
        self._generator = torch.Generator().manual_seed(seed)

    def see(self, images: Tensor) -> list[dict[Quantity, Tensor]]:
        """Run a batch forward, sample labels from the model's distribution, and run their losses backward.

        Args:
            images: ``[N, C, H, W]``.

        Returns:
            For each convolution, derivatives of each example's own loss in the pre-activations, ``[N, K, *out]``, and
            activations, which are smaller where a pooling comes before the nonlinearity.
        """
        with self._activations() as activations:
            outputs = self._model(images)
        vectors = sampled_vectors(outputs.detach(), "categorical", samples=1, generator=self._generator)
        batches = cast("list[LayerBatch]", self._capture.backpropagate(outputs, vectors))
        return [
            {"derivative": batch.output_gradients[0], "activation": activations[found.relu]}
            for found, batch in zip(self.layers, batches, strict=True)
        ]

    @contextmanager
    def _activations(self) -> Iterator[dict[nn.Module, Tensor]]:
        """Keep the outputs of the nonlinearities of one forward pass."""
        kept: dict[nn.Module, Tensor] = {}

        def keep(relu: nn.Module, _module: nn.Module, _inputs: object, output: Tensor) -> None:
            kept[relu] = output.detach()

        handles = [found.relu.register_forward_hook(partial(keep, found.relu)) for found in self.layers]
        try:
            yield kept
        finally:
            for handle in handles:
                handle.remove()
