"""Preconditioning by plain products, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def precondition(
    gradients: Sequence[Tensor], output_inverses: Sequence[Tensor], input_inverses: Sequence[Tensor]
) -> list[Tensor]:
    """Compute both Kronecker products as in `kfc_kernels.precondition.precondition`."""
    return [
        output_inverse @ gradient @ input_inverse
        for gradient, output_inverse, input_inverse in zip(gradients, output_inverses, input_inverses, strict=True)
    ]


def precondition_diagonal(gradients: Sequence[Tensor], diagonals: Sequence[Tensor], damping: float) -> list[Tensor]:
    """Divide as in `kfc_kernels.precondition.precondition_diagonal`."""
    return [gradient / (diagonal + damping) for gradient, diagonal in zip(gradients, diagonals, strict=True)]


def precondition_dense(gradients: Sequence[Tensor], inverses: Sequence[Tensor]) -> list[Tensor]:
    """Multiply as in `kfc_kernels.precondition.precondition_dense`."""
    return [
        (inverse @ gradient.reshape(*inverse.shape[:-1], 1)).reshape(gradient.shape)
        for gradient, inverse in zip(gradients, inverses, strict=True)
    ]
