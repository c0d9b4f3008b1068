"""KFC with exact damping, in the eigenbasis of its factors (supplement, Eqs. 33-38)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kfc_bench.curvature.approximation import PhaseBytes
from kfc_bench.curvature.kfc import KFC
from kfc_bench.spans import span
from kfc_kernels import ConvGeometry, precondition_diagonal
from kfc_kernels.damped_inverse import NotInvertibleError
from kfc_kernels.precision import multiplying


def eigenbasis(factor: Tensor) -> tuple[Tensor, Tensor]:
    """Decompose a symmetric positive semidefinite factor.

    Args:
        factor: ``[n, n]`` or ``[groups, n, n]``.

    Returns:
        Eigenvalues, those below zero as zero, ``[..., n]``, and eigenvectors as columns, ``[..., n, n]``.

    Raises:
        NotInvertibleError: A value is not finite.
    """
    if not bool(factor.isfinite().all()):
        raise NotInvertibleError(f"a factor of size {factor.shape[-1]} is not finite")
    with multiplying("ieee"):
        values, vectors = torch.linalg.eigh(factor)
    return values.clamp_min(0), vectors


class KFCEigen(KFC):
    """Omega (x) Gamma + (lambda + gamma) I, inverted exactly: `inverses` holds Q_D, Q_K and eigenvalues ``[K, D]``."""

    def _refresh(self) -> None:
        self.inverses = [self._decomposed(index) if layer else [] for index, layer in enumerate(self.statistics)]

    def _decomposed(self, index: int) -> list[Tensor]:
        with span("inverse", self.name(index)):
            (input_values, input_basis), (output_values, output_basis) = map(eigenbasis, self.statistics[index][:2])
            return [input_basis, output_basis, output_values.unsqueeze(-1) * input_values.unsqueeze(-2)]

    def _damped(self, index: int) -> list[tuple[Tensor, Tensor | float]]:
        return []

    def _eigenvalues(self, index: int) -> Tensor:
        return self.inverses[index][2]

    def _precondition(self, gradients: Sequence[Tensor], layers: Sequence[int]) -> list[Tensor]:
        bases = [self.inverses[index][:2] for index in layers]
        rotated = [output.mT @ gradient @ input_ for gradient, (input_, output) in zip(gradients, bases, strict=True)]
        divided = precondition_diagonal(
            rotated,
            [self._eigenvalues(index) for index in layers],
            self.damping,
            implementation=self.chosen("precondition_diagonal"),
        )
        return [output @ natural @ input_.mT for natural, (input_, output) in zip(divided, bases, strict=True)]

    @staticmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict: bases and eigenvalues beside KFC's factors; LAPACK's workspace is twice the largest factor."""
        expand = KFC.predicted_bytes(geometries, batch, vectors, element_size)
        parameters = element_size * sum(geometry.parameters for geometry in geometries)
        return PhaseBytes(expand.accumulate, expand.refresh + parameters, 2 * expand.precondition)
