"""EKFAC: the exact second moments in KFC's eigenbasis (George et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import PhaseBytes
from kfc_bench.curvature.batch import LayerBatch
from kfc_bench.curvature.footprint import Footprint
from kfc_bench.curvature.kfc_eigen import KFCEigen
from kfc_bench.spans import span
from kfc_kernels import ConvGeometry, eigenvalue_correction


class EKFAC(KFCEigen):
    """(Q_D (x) Q_K) diag(S) (Q_D (x) Q_K)^T, S = E[(Q_K^T G Q_D)^2]; lambda + gamma is added to S directly.

    The first batch sets the bases. `refresh` turns them to those of the averaged factors and carries S over as the
    diagonal that the old matrix has in the new bases, which keeps its trace; what comes after is exact in them.
    """

    def _accumulate(self, index: int, batch: LayerBatch, out: list[Tensor] | None, decay: float | None) -> list[Tensor]:
        factors = super()._accumulate(index, batch, out[:2] if out else None, decay)
        if out is None:
            self.statistics[index] = factors
            self.inverses += [[]] * (index + 1 - len(self.inverses))
            self.inverses[index] = self._decomposed(index)
        input_basis, output_basis = self.inverses[index][:2]
        with span("eigenvalue correction", self.name(index)):
            correction = eigenvalue_correction(
                batch.inputs,
                batch.output_gradients,
                batch.geometry,
                output_basis,
                input_basis,
                implementation=self.chosen("eigenvalue_correction"),
                out=out[2] if out else None,
                decay=decay,
            )
        return [*factors, correction]

    def _refresh(self) -> None:
        old = self.inverses
        super()._refresh()
        for index, (statistics, before) in enumerate(zip(self.statistics, old, strict=False)):
            if statistics:
                with span("inverse", self.name(index)):
                    input_turn, output_turn = (
                        (new.mT @ basis).square()
                        for new, basis in zip(self.inverses[index][:2], before[:2], strict=True)
                    )
                    statistics[2] = output_turn @ statistics[2] @ input_turn.mT

    def _decomposed(self, index: int) -> list[Tensor]:
        return super()._decomposed(index)[:2]

    def _eigenvalues(self, index: int) -> Tensor:
        return self.statistics[index][2]

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: factors, bases and diagonals throughout, while a factor forms or example gradients are rotated."""
        eigen = KFCEigen.predicted_bytes(geometries, batch, vectors, element_size)
        layers = [Footprint(geometry, batch, vectors, element_size) for geometry in geometries]
        parameters = element_size * sum(geometry.parameters for geometry in geometries)
        rotating = max(max(layer.forming, 2 * layer.example_gradients) for layer in layers)
        factors = element_size * sum(
            geometry.groups * (geometry.patch_dim**2 + geometry.group_outputs**2) for geometry in geometries
        )
        forming = max(eigen.accumulate, factors + rotating)
        return PhaseBytes(forming + eigen.refresh + parameters, eigen.refresh, eigen.precondition)
