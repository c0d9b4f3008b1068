"""Preconditioning by plain products, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def _norm_of(natural: list[Tensor], squared_norm: Tensor | None) -> list[Tensor]:
    if squared_norm is not None:
        squared_norm.zero_()
        for gradient in natural:
            squared_norm += gradient.to(squared_norm.dtype).square().sum()
    return natural


def precondition(
    gradients: Sequence[Tensor],
    output_inverses: Sequence[Tensor],
    input_inverses: Sequence[Tensor],
    *,
    squared_norm: Tensor | None,
) -> list[Tensor]:
    """Compute both Kronecker products as in `kfc_kernels.precondition.precondition`."""
    natural = [
        output_inverse @ gradient @ input_inverse
        for gradient, output_inverse, input_inverse in zip(gradients, output_inverses, input_inverses, strict=True)
    ]
    return _norm_of(natural, squared_norm)


def precondition_diagonal(
    gradients: Sequence[Tensor],
    diagonals: Sequence[Tensor],
    damping: float,
    *,
    momentum: float,
    buffers: Sequence[Tensor] | None,
    squared_norm: Tensor | None,
) -> list[Tensor]:
    """Divide as in `kfc_kernels.precondition.precondition_diagonal`."""
    natural = [gradient / (diagonal + damping) for gradient, diagonal in zip(gradients, diagonals, strict=True)]
    _norm_of(natural, squared_norm)
    if buffers is None:
        return natural
    return [buffer.mul_(momentum).add_(direction) for buffer, direction in zip(buffers, natural, strict=True)]


def precondition_dense(
    gradients: Sequence[Tensor], inverses: Sequence[Tensor], *, squared_norm: Tensor | None
) -> list[Tensor]:
    """Multiply as in `kfc_kernels.precondition.precondition_dense`."""
    natural = [
        (inverse @ gradient.reshape(*inverse.shape[:-1], 1)).reshape(gradient.shape)
        for gradient, inverse in zip(gradients, inverses, strict=True)
    ]
    return _norm_of(natural, squared_norm)
