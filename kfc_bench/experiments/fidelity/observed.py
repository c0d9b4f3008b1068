"""What a network's layers see of the examples, for each source of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kfc_bench.curvature import LayerBatch
from kfc_bench.curvature.capture import Capture
from kfc_bench.curvature.layers import Layer, find_layers
from kfc_bench.curvature.likelihoods import FISHERS, Fisher, sampled_vectors, type2_vectors
from kfc_bench.problems.images import Split


@dataclass(frozen=True)
class Observed:
    """A network of convolution and linear layers, on some examples.

    Attributes:
        model: The network, in float64 and evaluation mode.
        layers: Its layers.
        examples: Images ``[N, C, H, W]`` in float64, and labels.
        batches: By source of the vectors, what each layer saw.
    """

    model: nn.Module
    layers: list[Layer]
    examples: Split
    batches: dict[Fisher, list[LayerBatch]]

    @property
    def gradients(self) -> list[Tensor]:
        """Per layer, the gradient of the mean loss, flat ``[KD]``: the mean of the true labels' vectors."""
        return [batch.example_gradients()[0].mean(0) for batch in self.batches["empirical"]]

    @torch.no_grad()
    def loss(self, steps: Sequence[Tensor | None]) -> float:
        """Compute the mean cross-entropy of the examples away from the parameters, which stay.

        Args:
            steps: Per layer what is subtracted from its parameters, flat ``[KD]``; None for nothing.

        Returns:
            Nats.
        """
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        moved = {
            names[id(parameter)]: parameter - piece
            for layer, step in zip(self.layers, steps, strict=True)
            if step is not None
            for parameter, piece in layer.split(step.view(len(layer.parameters[0]), -1))
        }
        outputs = torch.func.functional_call(self.model, moved, (self.examples.images,))
        return float(functional.cross_entropy(outputs, self.examples.labels))


def _vectors(outputs: Tensor, labels: Tensor, source: Fisher, seed: int) -> Tensor:
    if source == "type2":
        return type2_vectors(outputs, "categorical")
    if source == "mc":
        return sampled_vectors(outputs, "categorical", samples=1, generator=torch.Generator().manual_seed(seed))
    return (outputs.softmax(1) - functional.one_hot(labels, outputs.shape[1])).unsqueeze(0)


def observe(model: nn.Module, examples: Split, seed: int) -> Observed:
    """Run the examples through a network, once for each source of labels.

    Args:
        model: The network, in float64 and evaluation mode, of convolution and linear layers alone.
        examples: Images and labels.
        seed: Of the labels that Monte Carlo draws, one per example.

    Returns:
        What was seen.
    """
    layers = find_layers(model)
    capture = Capture(model, layers)
    images = examples.images.double()
    batches: dict[Fisher, list[LayerBatch]] = {}
    for source in FISHERS:
        outputs = model(images)
        seen = capture.backpropagate(outputs, _vectors(outputs.detach(), examples.labels, source, seed))
        batches[source] = cast("list[LayerBatch]", seen)
    capture.remove()
    return Observed(model, layers, Split(images, examples.labels), batches)
