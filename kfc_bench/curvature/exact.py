"""The exact Fisher matrix of a small network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kfc_bench.curvature.approximation import Approximation, LayerBatch, PhaseBytes
from kfc_bench.curvature.footprint import Footprint
from kfc_kernels import ConvGeometry, exact_fisher, precondition_dense
from kfc_kernels.patches import example_gradients


def network_gradients(batches: Sequence[LayerBatch]) -> Tensor:
    """Lay the per-example gradients of all layers side by side.

    Args:
        batches: One per layer.

    Returns:
        ``[V, N, P]``, each layer's row-major ``[K, D]`` in turn.
    """
    return torch.cat(
        [
            example_gradients(batch.inputs, batch.output_gradients, batch.geometry).movedim(0, 2).flatten(2)
            for batch in batches
        ],
        dim=2,
    )


class Exact(Approximation):
    """F itself (Eq. 3), ``[P, P]``; lambda + gamma is added to its diagonal directly."""

    def _accumulate(
        self, batches: Sequence[LayerBatch], out: list[list[Tensor]] | None, decay: float | None
    ) -> list[list[Tensor]]:
        return [
            [
                exact_fisher(
                    network_gradients(batches),
                    implementation=self.chosen("exact_fisher"),
                    out=out[0][0] if out else None,
                    decay=decay,
                )
            ]
        ]

    def damped(self) -> list[list[tuple[Tensor, Tensor | float]]]:
        """Return the one matrix with the damping."""
        return [[(fisher, self.damping)] for (fisher,) in self.statistics]

    def precondition(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Multiply the whole network's gradient with the inverse."""
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        (natural,) = precondition_dense(
            [flat], [inverse for (inverse,) in self.inverses], implementation=self.chosen("precondition_dense")
        )
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
