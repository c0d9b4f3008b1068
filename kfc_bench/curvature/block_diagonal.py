"""One exact Fisher block per layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import Approximation, LayerBatch, PhaseBytes
from kfc_bench.curvature.footprint import Footprint, inverting
from kfc_kernels import ConvGeometry, block_fisher, precondition_dense


class BlockDiagonal(Approximation):
    """The Fisher without its blocks between layers (Eq. 12); lambda + gamma is added to its diagonal directly."""

    def _accumulate(
        self, batches: Sequence[LayerBatch], out: list[list[Tensor]] | None, decay: float | None
    ) -> list[list[Tensor]]:
        return [
            [
                block_fisher(
                    batch.inputs,
                    batch.output_gradients,
                    batch.geometry,
                    implementation=self.chosen("block_fisher"),
                    out=out[index][0] if out else None,
                    decay=decay,
                )
            ]
            for index, batch in enumerate(batches)
        ]

    def damped(self) -> list[list[tuple[Tensor, Tensor | float]]]:
        """Return each layer's block with the damping."""
        return [[(block, self.damping)] for (block,) in self.statistics]

    def precondition(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Multiply each layer's gradient with its inverted block."""
        return precondition_dense(
            gradients, [inverse for (inverse,) in self.inverses], implementation=self.chosen("precondition_dense")
        )

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: every block, one of them twice while it forms, from the per-example gradients of its layer."""
        layers = [Footprint(geometry, batch, vectors, element_size) for geometry in geometries]
        blocks = [(geometry.groups, geometry.group_outputs * geometry.patch_dim) for geometry in geometries]
        sizes = [element_size * groups * size**2 for groups, size in blocks]
        gradients = element_size * sum(geometry.parameters for geometry in geometries)
        largest = max(
            max(layer.forming, layer.example_gradients + size) for layer, size in zip(layers, sizes, strict=True)
        )
        return PhaseBytes(sum(sizes) + largest, element_size * inverting(blocks), 2 * gradients)
