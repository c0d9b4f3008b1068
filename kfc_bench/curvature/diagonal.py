"""The diagonal of the Fisher matrix."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import Approximation, LayerBatch, PhaseBytes
from kfc_bench.curvature.footprint import Footprint
from kfc_kernels import ConvGeometry, diagonal_fisher, precondition_diagonal


class Diagonal(Approximation):
    """Mean squares of per-example gradients; lambda + gamma is added to them directly."""

    def _accumulate(
        self, batches: Sequence[LayerBatch], out: list[list[Tensor]] | None, decay: float | None
    ) -> list[list[Tensor]]:
        return [
            [
                diagonal_fisher(
                    batch.inputs,
                    batch.output_gradients,
                    batch.geometry,
                    implementation=self.chosen("diagonal_fisher"),
                    out=out[index][0] if out else None,
                    decay=decay,
                )
            ]
            for index, batch in enumerate(batches)
        ]

    def damped(self) -> list[list[tuple[Tensor, Tensor | float]]]:
        """Return no matrix: a diagonal is divided by, not inverted."""
        return [[] for _ in self.statistics]

    def precondition(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Divide each gradient by the damped diagonal."""
        return precondition_diagonal(
            gradients,
            [diagonal for (diagonal,) in self.statistics],
            self.damping,
            implementation=self.chosen("precondition_diagonal"),
        )

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: the per-example gradients of one layer at a time."""
        gradients = element_size * sum(geometry.parameters for geometry in geometries)
        largest = max(Footprint(geometry, batch, vectors, element_size).forming for geometry in geometries)
        return PhaseBytes(gradients + largest, 0, 2 * gradients)
