"""No curvature at all: SGD as an approximation, the baseline of every phase."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import Approximation, LayerBatch, PhaseBytes
from kfc_kernels import ConvGeometry


class Identity(Approximation):
    """The identity matrix; every phase does nothing."""

    def _accumulate(
        self,
        batches: Sequence[LayerBatch],
        out: list[list[Tensor]] | None,  # noqa: ARG002
        decay: float | None,  # noqa: ARG002
    ) -> list[list[Tensor]]:
        return [[] for _ in batches]

    def damped(self) -> list[list[tuple[Tensor, Tensor | float]]]:
        """Return no matrix."""
        return [[] for _ in self.statistics]

    def precondition(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradients themselves."""
        return list(gradients)

    @staticmethod
    def predicted_bytes(
        geometries: Sequence[ConvGeometry],  # noqa: ARG004
        batch: int,  # noqa: ARG004
        vectors: int,  # noqa: ARG004
        element_size: int,  # noqa: ARG004
    ) -> PhaseBytes:
        """Predict nothing."""
        return PhaseBytes(0, 0, 0)
