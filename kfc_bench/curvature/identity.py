"""No curvature at all: SGD as an approximation, the baseline of every phase."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import Approximation, PhaseBytes
from kfc_bench.curvature.batch import Batch
from kfc_kernels import ConvGeometry


class Identity(Approximation[Batch]):
    """The identity matrix; every phase does nothing."""

    def _accumulate(
        self,
        index: int,
        batch: Batch,
        out: list[Tensor] | None,
        decay: float | None,
    ) -> list[Tensor]:
        return []

    def _precondition(self, gradients: Sequence[Tensor], layers: Sequence[int]) -> list[Tensor]:
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
