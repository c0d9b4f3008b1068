"""KFC under SUA: activations uncorrelated in space, so that a factor of channels alone is enough (section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kfc_bench.curvature.approximation import Approximation, PhaseBytes
from kfc_bench.curvature.batch import LayerBatch
from kfc_bench.curvature.damping import mean_eigenvalue, split_damping
from kfc_bench.curvature.footprint import Footprint, inverting
from kfc_bench.spans import span
from kfc_kernels import ConvGeometry, input_factor, output_factor


def channel_factor(batch: LayerBatch, implementation: str, out: Tensor | None, decay: float | None) -> Tensor:
    """Compute (1/N) sum over examples and input positions of abar abar^T, no patches, the coordinate 1 last.

    Args:
        batch: What the layer saw.
        implementation: Of `input_factor`.
        out: Running average, or None.
        decay: e of the running average.

    Returns:
        ``[C + 1, C + 1]``, with groups ``[groups, C/groups + 1, C/groups + 1]``; its last entry counts the positions.
    """
    layer = batch.geometry
    pointwise = ConvGeometry.conv(
        layer.in_channels, layer.out_channels, layer.in_size, 1, groups=layer.groups, bias=True
    )
    return input_factor(batch.inputs, pointwise, implementation=implementation, out=out, decay=decay)


def across_and_within(moments: Tensor, elements: int, *, bias: bool) -> tuple[Tensor, Tensor]:
    """Diagonalise [Sigma (x) I + mu mu^T (x) 11^T] over the kernel's elements, which takes one unit vector 1/sqrt(k).

    Args:
        moments: E of abar abar^T, ``[..., C + 1, C + 1]``, the last entry its weight.
        elements: k, elements of the kernel.
        bias: Whether the layer has a homogeneous coordinate.

    Returns:
        The block along that vector, the homogeneous coordinate beside it, ``[..., C + bias, C + bias]``, and the one
        of every direction across it, Sigma, ``[..., C, C]``.
    """
    second, mean, weight = moments[..., :-1, :-1], moments[..., :-1, -1:], moments[..., -1:, -1:]
    centre = mean @ mean.mT / weight
    along = second + (elements - 1) * centre
    if bias:
        edge = math.sqrt(elements) * mean
        along = torch.cat([torch.cat([along, edge], -1), torch.cat([edge.mT, weight], -1)], -2)
    return along, second - centre


class SUA(Approximation[LayerBatch]):
    """Omega as Sigma (x) I + mu mu^T (x) 11^T times the number of positions, beside KFC's Gamma, factored damping.

    Sigma and mu are channels' covariance and mean over all positions: beta of Theorem 4 is |T| throughout, which
    differs from it at padded borders. Omega costs C^2 numbers instead of (C k)^2, and inverts as two matrices of C.
    """

    def __init__(
        self, *, damping: float, decay: float = 0.95, implementation: str = "auto", inverse: str = "auto"
    ) -> None:
        super().__init__(damping=damping, decay=decay, implementation=implementation, inverse=inverse)
        self._kernels: list[tuple[int, bool, float]] = []

    def _remember(self, index: int, geometry: ConvGeometry) -> None:
        self._kernels += [(0, False, 0.0)] * (index + 1 - len(self._kernels))
        self._kernels[index] = (
            geometry.kernel_elements,
            geometry.bias,
            geometry.positions / math.prod(geometry.in_size),
        )

    def _accumulate(self, index: int, batch: LayerBatch, out: list[Tensor] | None, decay: float | None) -> list[Tensor]:
        self._remember(index, batch.geometry)
        moments, gamma = out or (None, None)
        with span("input factor", self.name(index)):
            moments = channel_factor(batch, self.chosen("input_factor"), moments, decay)
        with span("output factor", self.name(index)):
            gamma = output_factor(
                batch.output_gradients,
                batch.geometry,
                implementation=self.chosen("output_factor"),
                out=gamma,
                decay=decay,
            )
        return [moments, gamma]

    def omega(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the two blocks of a layer's input factor, as `across_and_within` does."""
        elements, bias, share = self._kernels[index]
        return across_and_within(self.statistics[index][0] * share, elements, bias=bias)

    def _damped(self, index: int) -> list[tuple[Tensor, Tensor | float]]:
        along, across = self.omega(index)
        gamma = self.statistics[index][1]
        others = self._kernels[index][0] - 1
        trace = along.diagonal(dim1=-2, dim2=-1).sum(-1) + others * across.diagonal(dim1=-2, dim2=-1).sum(-1)
        input_mean = trace / (along.shape[-1] + others * across.shape[-1])
        input_shift, output_shift = split_damping(input_mean, mean_eigenvalue(gamma), self.damping)
        return [(along, input_shift), (across, input_shift), (gamma, output_shift)]

    def _precondition(self, gradients: Sequence[Tensor], layers: Sequence[int]) -> list[Tensor]:
        return [self._natural(gradient, index) for gradient, index in zip(gradients, layers, strict=True)]

    def _natural(self, gradient: Tensor, index: int) -> Tensor:
        along, across, *output = self.inverses[index]
        elements, bias, _ = self._kernels[index]
        channels = across.shape[-1]
        weights = gradient[..., : channels * elements].unflatten(-1, (channels, elements))
        mean = weights.mean(-1)
        rows = torch.cat([math.sqrt(elements) * mean, gradient[..., -1:]], -1) if bias else math.sqrt(elements) * mean
        rows = rows @ along
        rest = (weights - mean.unsqueeze(-1)).movedim(-1, -3) @ across.unsqueeze(-3)
        if output:
            (inverse,) = output
            rows, rest = inverse @ rows, inverse.unsqueeze(-3) @ rest
        natural = rest.movedim(-3, -1) + rows[..., :channels].unsqueeze(-1) / math.sqrt(elements)
        return torch.cat([natural.flatten(-2), rows[..., channels:]], -1)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs, the kernels' sizes among it."""
        return {**super().state_dict(), "kernels": list(self._kernels)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a copy of what `state_dict` returned."""
        super().load_state_dict(state)
        self._kernels = list(state["kernels"])

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: one layer's inputs or vectors once more, factors of channels throughout."""
        layers = [Footprint(geometry, batch, vectors, element_size) for geometry in geometries]
        sizes = [(geometry.groups, geometry.in_channels // geometry.groups + 1) for geometry in geometries]
        sizes += [(geometry.groups, geometry.group_outputs) for geometry in geometries]
        factors = element_size * sum(groups * size**2 for groups, size in sizes)
        gradients = element_size * sum(geometry.parameters for geometry in geometries)
        largest = max(max(2 * layer.inputs, layer.output_gradients) for layer in layers)
        return PhaseBytes(2 * factors + largest, 3 * element_size * inverting(sizes), 4 * gradients)
