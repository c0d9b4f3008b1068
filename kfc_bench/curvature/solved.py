"""How a gradient is solved for with one dense matrix per layer, or with one diagonal."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_bench.curvature.approximation import Approximation, B
from kfc_kernels import precondition_dense, precondition_diagonal


class DenseBlock(Approximation[B]):
    """An approximation whose one statistic of a layer is a matrix; lambda + gamma is added to its diagonal directly."""

    def _damped(self, index: int) -> list[tuple[Tensor, Tensor | float]]:
        return [(self.statistics[index][0], self.damping)]

    def _precondition(self, gradients: Sequence[Tensor], layers: Sequence[int]) -> list[Tensor]:
        return precondition_dense(
            gradients,
            [self.inverses[index][0] for index in layers],
            implementation=self.chosen("precondition_dense"),
        )


class DiagonalBlock(Approximation[B]):
    """An approximation whose one statistic of a layer is a diagonal; lambda + gamma is added to it directly."""

    def _precondition(self, gradients: Sequence[Tensor], layers: Sequence[int]) -> list[Tensor]:
        return precondition_diagonal(
            gradients,
            [self.statistics[index][0] for index in layers],
            self.damping,
            implementation=self.chosen("precondition_diagonal"),
        )
