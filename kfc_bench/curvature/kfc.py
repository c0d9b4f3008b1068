"""KFC: Kronecker factors of convolution layers (Grosse & Martens 2016), K-FAC for linear ones."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import Approximation, PhaseBytes
from kfc_bench.curvature.batch import LayerBatch
from kfc_bench.curvature.damping import factored_tikhonov
from kfc_bench.curvature.footprint import Footprint, inverting
from kfc_bench.spans import span
from kfc_kernels import ConvGeometry, input_factor, output_factor, precondition


class KFC(Approximation[LayerBatch]):
    """Omega (x) Gamma per layer (Eqs. 19, 23), in the "expand" form, with factored damping (Eqs. 20-22)."""

    def _accumulate(self, index: int, batch: LayerBatch, out: list[Tensor] | None, decay: float | None) -> list[Tensor]:
        omega, gamma = out or (None, None)
        with span("input factor", self.name(index)):
            omega = input_factor(
                batch.inputs, batch.geometry, implementation=self.chosen("input_factor"), out=omega, decay=decay
            )
        with span("output factor", self.name(index)):
            gamma = output_factor(
                batch.output_gradients,
                batch.geometry,
                implementation=self.chosen("output_factor"),
                out=gamma,
                decay=decay,
            )
        return [omega, gamma]

    def _damped(self, index: int) -> list[tuple[Tensor, Tensor | float]]:
        omega, gamma = self.statistics[index]
        input_shift, output_shift = factored_tikhonov(omega, gamma, self.damping)
        return [(omega, input_shift), (gamma, output_shift)]

    def _precondition(self, gradients: Sequence[Tensor], layers: Sequence[int]) -> list[Tensor]:
        return precondition(
            gradients,
            [self.inverses[index][1] for index in layers],
            [self.inverses[index][0] for index in layers],
            implementation=self.chosen("precondition"),
        )

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: one layer's patches or vectors at a time, factors throughout, each twice while it forms."""
        layers = [Footprint(geometry, batch, vectors, element_size) for geometry in geometries]
        factors = [
            (geometry.groups, size) for geometry in geometries for size in (geometry.patch_dim, geometry.group_outputs)
        ]
        sizes = [element_size * groups * size**2 for groups, size in factors]
        gradients = element_size * sum(geometry.parameters for geometry in geometries)
        largest = max(max(layer.gathering, layer.patches, layer.output_gradients) for layer in layers)
        return PhaseBytes(sum(sizes) + max(sizes) + largest, element_size * inverting(factors), 2 * gradients)
