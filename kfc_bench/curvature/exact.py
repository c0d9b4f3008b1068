"""The exact Fisher matrix of a small network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from kfc_bench.curvature.approximation import PhaseBytes
from kfc_bench.curvature.batch import Batch, ExampleBatch
from kfc_bench.curvature.footprint import Footprint
from kfc_bench.curvature.solved import DenseBlock
from kfc_bench.spans import Layers, span
from kfc_kernels import ConvGeometry, exact_fisher, precondition_dense


class Exact(DenseBlock[Batch]):
    """F itself (Eq. 3), ``[P, P]``, of all layers together; lambda + gamma is added to its diagonal directly."""

    def observe(self, batches: Sequence[Batch | None], *, decay: float | None = None) -> None:
        """Add one batch to the running average.

        Args:
            batches: One per layer.
            decay: e of this batch; None for e_k.

        Raises:
            RuntimeError: A layer took no part: the matrix has rows of all.
        """
        present = [batch for batch in batches if batch is not None]
        if len(present) < len(batches):
            raise RuntimeError("the exact Fisher needs every layer in every batch: one did not run")
        with span("statistics"):
            gradients = torch.cat([batch.example_gradients() for batch in present], dim=2)
        super().observe([ExampleBatch(gradients)], decay=decay)

    def name(self, index: int) -> str:
        """Return no layer's name: the matrix is of all."""
        return ""

    def _served(self, indices: Iterable[int]) -> Layers:
        return ""

    def _accumulate(
        self,
        index: int,
        batch: Batch,
        out: list[Tensor] | None,
        decay: float | None,
    ) -> list[Tensor]:
        with span("statistics", self.name(index)):
            return [
                exact_fisher(
                    batch.example_gradients(),
                    implementation=self.chosen("exact_fisher"),
                    out=out[0] if out else None,
                    decay=decay,
                )
            ]

    def _precondition(self, gradients: Sequence[Tensor], layers: Sequence[int]) -> list[Tensor]:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        ((inverse,),) = self.inverses
        (natural,) = precondition_dense([flat], [inverse], implementation=self.chosen("precondition_dense"))
        pieces = natural.split([gradient.numel() for gradient in gradients])
        return [piece.reshape(gradient.shape) for piece, gradient in zip(pieces, gradients, strict=True)]

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: the matrix, twice while it forms, and the per-example gradients of the whole network."""
        layers = [Footprint(geometry, batch, vectors, element_size) for geometry in geometries]
        parameters = sum(geometry.parameters for geometry in geometries)
        matrix = element_size * parameters**2
        rows = sum(layer.example_gradients for layer in layers)
        forming = max(layer.forming for layer in layers)
        return PhaseBytes(rows + max(2 * matrix, forming, rows), 3 * matrix, 3 * element_size * parameters)
