"""What a layer saw of one batch, as its approximation observes it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kfc_kernels import ConvGeometry
from kfc_kernels.patches import example_gradients


@dataclass(frozen=True)
class LayerBatch:
    """What one convolution or linear layer saw of one batch.

    Attributes:
        geometry: The layer.
        inputs: ``[N, C, *in]``.
        output_gradients: Backpropagated vectors of each example's own loss, ``[V, N, K, *out]``.
    """

    geometry: ConvGeometry
    inputs: Tensor
    output_gradients: Tensor

    def example_gradients(self) -> Tensor:
        """Return each example's own gradient, row-major ``[K, D]``, as ``[V, N, P]``."""
        return example_gradients(self.inputs, self.output_gradients, self.geometry).movedim(0, 2).flatten(2)

    def tensors(self) -> list[Tensor]:
        """Return all that was seen."""
        return [self.inputs, self.output_gradients]


@dataclass(frozen=True)
class ExampleBatch:
    """The per-example gradients of a layer that is neither convolution nor linear.

    Attributes:
        gradients: ``[V, N, P]``, the layer's trainable parameters flat, side by side.
    """

    gradients: Tensor

    def example_gradients(self) -> Tensor:
        """Return each example's own gradient, ``[V, N, P]``."""
        return self.gradients

    def tensors(self) -> list[Tensor]:
        """Return all that was seen."""
        return [self.gradients]


Batch = LayerBatch | ExampleBatch
