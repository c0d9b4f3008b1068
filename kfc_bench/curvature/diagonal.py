"""The diagonal of the Fisher matrix."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import PhaseBytes
from kfc_bench.curvature.batch import LayerBatch
from kfc_bench.curvature.footprint import Footprint
from kfc_bench.curvature.solved import DiagonalBlock
from kfc_bench.spans import span
from kfc_kernels import ConvGeometry, diagonal_fisher


class Diagonal(DiagonalBlock[LayerBatch]):
    """Mean squares of per-example gradients; lambda + gamma is added to them directly."""

    def _accumulate(self, index: int, batch: LayerBatch, out: list[Tensor] | None, decay: float | None) -> list[Tensor]:
        with span("statistics", self.name(index)):
            return [
                diagonal_fisher(
                    batch.inputs,
                    batch.output_gradients,
                    batch.geometry,
                    implementation=self.chosen("diagonal_fisher"),
                    out=out[0] if out else None,
                    decay=decay,
                )
            ]

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: the per-example gradients of one layer at a time."""
        gradients = element_size * sum(geometry.parameters for geometry in geometries)
        largest = max(Footprint(geometry, batch, vectors, element_size).forming for geometry in geometries)
        return PhaseBytes(gradients + largest, 0, 2 * gradients)
