"""PRONG, idealised: the Fisher under SUA and white derivatives (Theorem 4; Desjardins et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import PhaseBytes
from kfc_bench.curvature.batch import LayerBatch
from kfc_bench.curvature.footprint import Footprint, inverting
from kfc_bench.curvature.sua import SUA, channel_factor
from kfc_bench.spans import span
from kfc_kernels import ConvGeometry


class PRONG(SUA):
    """OmT (x) I, OmT of channel statistics per position; lambda + gamma is added to OmT directly.

    As in section 4.2 the number of positions is left out, so that the update is idealised PRONG's up to a factor.
    """

    def _accumulate(self, index: int, batch: LayerBatch, out: list[Tensor] | None, decay: float | None) -> list[Tensor]:
        self._remember(index, batch.geometry)
        with span("input factor", self.name(index)):
            return [channel_factor(batch, self.chosen("input_factor"), out[0] if out else None, decay)]

    def omega(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the two blocks of OmT, per position."""
        along, across = super().omega(index)
        positions = self.statistics[index][0][..., -1:, -1:] * self._kernels[index][2]
        return along / positions, across / positions

    def _damped(self, index: int) -> list[tuple[Tensor, Tensor | float]]:
        return [(block, self.damping) for block in self.omega(index)]

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: one layer's inputs once more, their coordinate 1 beside them, factors of channels throughout."""
        sizes = [(geometry.groups, geometry.in_channels // geometry.groups + 1) for geometry in geometries]
        factors = element_size * sum(groups * size**2 for groups, size in sizes)
        gradients = element_size * sum(geometry.parameters for geometry in geometries)
        largest = max(Footprint(geometry, batch, vectors, element_size).inputs for geometry in geometries)
        return PhaseBytes(2 * factors + 2 * largest, 3 * element_size * inverting(sizes), 4 * gradients)
