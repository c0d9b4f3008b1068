"""The diagonal form in parts whose damped diagonals stay in the cache until they divide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# Elements of a part: enough to pay for two launches of torch's threads, and few enough to stay in the cache.
ELEMENTS_OF_A_PART = 2**18


def parts_of(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of one shape into the same parts, where they lie; not at all if small, or one is not contiguous."""
    if tensors[0].numel() > ELEMENTS_OF_A_PART and all(tensor.is_contiguous() for tensor in tensors):
        yield from zip(*(tensor.view(-1).split(ELEMENTS_OF_A_PART) for tensor in tensors), strict=True)
    else:
        yield tensors


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
    if squared_norm is not None:
        squared_norm.zero_()
    results = list(buffers) if buffers is not None else [torch.empty_like(gradient) for gradient in gradients]
    for layer in zip(gradients, diagonals, results, strict=True):
        for gradient, diagonal, result in parts_of(*layer):
            # A fresh result holds the damped diagonal meanwhile.
            damped = torch.add(diagonal, damping, out=None if buffers is not None else result)
            direction = torch.div(gradient, damped, out=damped)
            if squared_norm is not None:
                squared_norm += direction.to(squared_norm.dtype).square().sum()
            if buffers is not None:
                result.mul_(momentum).add_(direction)
    return results
