"""Mini-blocks of the Fisher: one per convolution kernel, or one per linear layer (Bahamou, Goldfarb & Ren 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kfc_bench.curvature.approximation import Approximation, PhaseBytes
from kfc_bench.curvature.batch import LayerBatch
from kfc_bench.curvature.footprint import Footprint, inverting
from kfc_bench.spans import span
from kfc_kernels import ConvGeometry, mini_block_fisher


def _bias_fisher(batch: LayerBatch, out: Tensor | None, decay: float | None) -> Tensor:
    """Return the diagonal Fisher of a convolution's biases, ``[K]``, with groups ``[groups, K/groups]``."""
    layer = batch.geometry
    per_example = batch.output_gradients.flatten(3).sum(3)
    new = per_example.square().sum(0).mean(0).reshape(layer.grouped(layer.group_outputs))
    return new if out is None else out.lerp_(new, 1 - (decay or 0.0))


class MiniBlock(Approximation[LayerBatch]):
    """A block of k elements for each pair of channels, ``[K, C, k, k]``; a 1x1 layer has one ``[D, D]``.

    A convolution's biases have their diagonal. lambda + gamma is added to each directly.
    """

    def _accumulate(self, index: int, batch: LayerBatch, out: list[Tensor] | None, decay: float | None) -> list[Tensor]:
        with span("statistics", self.name(index)):
            blocks = mini_block_fisher(
                batch.inputs,
                batch.output_gradients,
                batch.geometry,
                implementation=self.chosen("mini_block_fisher"),
                out=out[0] if out else None,
                decay=decay,
            )
            if batch.geometry.kernel_elements == 1:
                return [blocks]
            biases = [_bias_fisher(batch, out[1] if out else None, decay)] if batch.geometry.bias else []
            return [blocks, *biases]

    def _damped(self, index: int) -> list[tuple[Tensor, Tensor | float]]:
        blocks = self.statistics[index][0]
        return [(blocks.flatten(0, -3) if blocks.ndim > 3 else blocks, self.damping)]

    def _precondition(self, gradients: Sequence[Tensor], layers: Sequence[int]) -> list[Tensor]:
        return [self._natural(gradient, index) for gradient, index in zip(gradients, layers, strict=True)]

    def _natural(self, gradient: Tensor, index: int) -> Tensor:
        ((inverse,), (blocks, *biases)) = self.inverses[index], self.statistics[index]
        if blocks.ndim <= 3:
            return gradient @ inverse
        channels, elements = blocks.shape[-3], blocks.shape[-1]
        weights = gradient[..., : channels * elements].unflatten(-1, (channels, elements)).unsqueeze(-2)
        natural = (weights @ inverse.view(blocks.shape)).flatten(-3)
        return torch.cat([natural, *(gradient[..., -1:] / (bias.unsqueeze(-1) + self.damping) for bias in biases)], -1)

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: the blocks, twice while they form, and the per-example gradients of one layer at a time."""
        layers = [Footprint(geometry, batch, vectors, element_size) for geometry in geometries]
        blocks = [
            (geometry.groups, geometry.patch_dim)
            if geometry.kernel_elements == 1
            else (geometry.out_channels * geometry.in_channels // geometry.groups, geometry.kernel_elements)
            for geometry in geometries
        ]
        sizes = [element_size * count * size**2 for count, size in blocks]
        gradients = element_size * sum(geometry.parameters for geometry in geometries)
        largest = max(
            max(layer.forming, 2 * layer.example_gradients + size) for layer, size in zip(layers, sizes, strict=True)
        )
        return PhaseBytes(sum(sizes) + largest, element_size * inverting(blocks), 3 * gradients)
