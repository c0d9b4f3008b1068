"""One exact Fisher block per layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import PhaseBytes
from kfc_bench.curvature.batch import LayerBatch
from kfc_bench.curvature.footprint import Footprint, inverting
from kfc_bench.curvature.solved import DenseBlock
from kfc_bench.spans import span
from kfc_kernels import ConvGeometry, block_fisher


class BlockDiagonal(DenseBlock[LayerBatch]):
    """The Fisher without its blocks between layers (Eq. 12); lambda + gamma is added to its diagonal directly."""

    def _accumulate(self, index: int, batch: LayerBatch, out: list[Tensor] | None, decay: float | None) -> list[Tensor]:
        with span("statistics", self.name(index)):
            return [
                block_fisher(
                    batch.inputs,
                    batch.output_gradients,
                    batch.geometry,
                    implementation=self.chosen("block_fisher"),
                    out=out[0] if out else None,
                    decay=decay,
                )
            ]

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
