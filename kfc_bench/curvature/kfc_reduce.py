"""K-FAC-reduce: factors of inputs and vectors summed over positions (Eschenhagen et al. 2023, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import PhaseBytes
from kfc_bench.curvature.batch import LayerBatch
from kfc_bench.curvature.footprint import Footprint
from kfc_bench.curvature.kfc import KFC
from kfc_bench.spans import span
from kfc_kernels import ConvGeometry, reduced_input_factor, reduced_output_factor


class KFCReduce(KFC):
    """The "reduce" form: exact where positions are summed before a linear network's loss; KFC is "expand"."""

    def _accumulate(self, index: int, batch: LayerBatch, out: list[Tensor] | None, decay: float | None) -> list[Tensor]:
        omega, gamma = out or (None, None)
        with span("input factor", self.name(index)):
            omega = reduced_input_factor(
                batch.inputs,
                batch.geometry,
                implementation=self.chosen("reduced_input_factor"),
                out=omega,
                decay=decay,
            )
        with span("output factor", self.name(index)):
            gamma = reduced_output_factor(
                batch.output_gradients,
                batch.geometry,
                implementation=self.chosen("reduced_output_factor"),
                out=gamma,
                decay=decay,
            )
        return [omega, gamma]

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: KFC's factors, from one layer's patches or from sums over positions, each twice while it forms."""
        expand = KFC.predicted_bytes(geometries, batch, vectors, element_size)
        layers = [Footprint(geometry, batch, vectors, element_size) for geometry in geometries]
        sizes = [
            element_size * geometry.groups * size**2
            for geometry in geometries
            for size in (geometry.patch_dim, geometry.group_outputs)
        ]
        largest = max(
            max(
                layer.gathering + element_size * batch * layer.geometry.groups * layer.geometry.patch_dim,
                element_size * vectors * batch * layer.geometry.out_channels,
            )
            for layer in layers
        )
        return PhaseBytes(sum(sizes) + max(sizes) + largest, expand.refresh, expand.precondition)
