"""Fisher blocks from the per-example gradients of layers that are neither convolution nor linear."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import PhaseBytes
from kfc_bench.curvature.batch import ExampleBatch
from kfc_bench.curvature.solved import DenseBlock, DiagonalBlock
from kfc_bench.spans import span
from kfc_kernels import ConvGeometry, exact_fisher


class ExampleBlock(DenseBlock[ExampleBatch]):
    """A layer's exact block, ``[P, P]``, small for scale and shift; lambda + gamma is added to it directly."""

    def _accumulate(
        self,
        index: int,
        batch: ExampleBatch,
        out: list[Tensor] | None,
        decay: float | None,
    ) -> list[Tensor]:
        with span("statistics", self.name(index)):
            return [
                exact_fisher(
                    batch.gradients,
                    implementation=self.chosen("exact_fisher"),
                    out=out[0] if out else None,
                    decay=decay,
                )
            ]

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: the blocks, one of them twice while it forms."""
        sizes = [element_size * geometry.parameters**2 for geometry in geometries]
        gradients = element_size * sum(geometry.parameters for geometry in geometries)
        return PhaseBytes(sum(sizes) + max(sizes) + batch * vectors * gradients, 3 * sum(sizes), 2 * gradients)


class ExampleDiagonal(DiagonalBlock[ExampleBatch]):
    """The diagonal of that block, ``[P]``: mean squares of per-example gradients; lambda + gamma is added directly."""

    def _accumulate(
        self,
        index: int,
        batch: ExampleBatch,
        out: list[Tensor] | None,
        decay: float | None,
    ) -> list[Tensor]:
        with span("statistics", self.name(index)):
            new = batch.gradients.square().sum(0).mean(0)
            return [new if out is None else out[0].lerp_(new, 1 - (decay or 0.0))]

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: the squares of the per-example gradients."""
        gradients = element_size * sum(geometry.parameters for geometry in geometries)
        return PhaseBytes((batch * vectors + 1) * gradients, 0, 2 * gradients)
