"""What torch's operations hold on a CPU beside operands and results, as seen of its allocator's events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

CHANNELS_OF_A_BLOCK = 8
"""Channels that oneDNN lays side by side; fewer are filled up with zeros."""

COPIES_OF_A_GRADIENT = 4
"""Sums of a weight's gradient that are held while it forms by products of matrices."""


def stored_bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor, of an expanded one those that exist."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def filled_up(channels: int, groups: int) -> int:
    """Return so many channels with each group's filled up to whole blocks."""
    block = CHANNELS_OF_A_BLOCK
    return groups * block * math.ceil(channels / groups / block)


def scratch_bytes(name: str, arguments: Sequence[Any], results: Sequence[Tensor]) -> int:
    """Return what an operation holds at its peak beside operands and results.

    Convolutions in oneDNN: contiguous operands and results have copies in blocks of channels, but for a first layer's
    few channels; with channels last, the weight alone has. LAPACK's eigenvectors, and gradients whose operands lie in
    unlike formats.

    Args:
        name: The operation's.
        arguments: Its arguments.
        results: Its results.

    Returns:
        Bytes; 0 of all else.
    """
    first = arguments[0] if arguments and isinstance(arguments[0], Tensor) else None
    if first is None or not results:
        return 0
    match name:
        case "convolution" if first.dtype == torch.float32:
            return _convolution(first, arguments[1], arguments[8], results[0])
        case "convolution_backward" if first.dtype == torch.float32:
            return _convolution_gradients(first, arguments[1], arguments[2], arguments[9], arguments[10])
        case "native_batch_norm_backward" if _alike(first, arguments[1]):
            return stored_bytes(arguments[1])
        case "max_pool2d_with_indices_backward" if not _alike(first, arguments[1]):
            return stored_bytes(results[0]) + stored_bytes(arguments[7])
        case "avg_pool2d_backward" if not _alike(first, arguments[1]):
            return stored_bytes(results[0])
        case "_linalg_eigh":
            return _workspace(first)
    return 0


def _alike(one: Tensor, other: Tensor) -> bool:
    return suggest_memory_format(one) == suggest_memory_format(other)


def _channels_last(tensor: Tensor) -> bool:
    wanted = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim)
    return wanted is not None and tensor.is_contiguous(memory_format=wanted)


def _convolution(x: Tensor, weight: Tensor, groups: int, output: Tensor) -> int:
    last, copied = _last_and_copied(x, weight)
    return copied + _of_convolution(x, weight, groups, stored_bytes(output), last=last)


def _convolution_gradients(gradient: Tensor, x: Tensor, weight: Tensor, groups: int, needs: Sequence[bool]) -> int:
    last, copied = _last_and_copied(x, weight, gradient)
    return copied + _of_its_gradients(x, weight, groups, gradient, needs, last=last)


def _last_and_copied(x: Tensor, weight: Tensor, *others: Tensor) -> tuple[bool, int]:
    """Tell whether a convolution runs with channels last, and the bytes of the operands that lie otherwise."""
    last = any(suggest_memory_format(tensor) != torch.contiguous_format for tensor in (x, weight))
    copied = sum(
        tensor.numel() * tensor.element_size()
        for tensor in (x, weight, *others)
        if not (_channels_last(tensor) if last else tensor.is_contiguous())
    )
    return last, copied


def _blocks(x: Tensor, weight: Tensor, groups: int) -> tuple[int, int]:
    """Return the bytes of an input and a weight in blocks of channels."""
    size, channels = x.element_size(), weight.shape[1]
    rows = weight.shape[0] if weight.shape[0] < CHANNELS_OF_A_BLOCK else filled_up(weight.shape[0], groups)
    columns = filled_up(channels * groups, groups) // groups
    inputs = size * x.shape[0] * filled_up(x.shape[1], groups) * math.prod(x.shape[2:])
    return inputs, size * rows * columns * math.prod(weight.shape[2:])


def _of_convolution(x: Tensor, weight: Tensor, groups: int, output: int, *, last: bool) -> int:
    inputs, weights = _blocks(x, weight, groups)
    if weight.shape[1] < CHANNELS_OF_A_BLOCK:
        inputs, weights = 0, stored_bytes(weight)
    return weights if last else max(inputs + weights, output)


def _of_its_gradients(
    x: Tensor, weight: Tensor, groups: int, gradient: Tensor, needs: Sequence[bool], *, last: bool
) -> int:
    """Return what is held while the input's gradient forms, and then the weight's, beyond both and the bias's."""
    needs_input, needs_weight, needs_bias = needs
    inputs, weights = _blocks(x, weight, groups)
    plain = weight.numel() * weight.element_size()
    given = 0 if last else stored_bytes(gradient)
    grad_bias = x.element_size() * weight.shape[0] if needs_bias else 0
    grad_input = stored_bytes(x) if needs_input else 0
    moments = [0]
    if needs_input:
        moments += [weights + grad_input] if last else [given + weights + inputs, inputs + grad_input]
    if needs_weight:
        few = 1 < weight.shape[1] < CHANNELS_OF_A_BLOCK
        again = 0 if last or few else inputs
        blocked = plain if few else weights
        moments += [grad_input + given + again + blocked + grad_bias]
        moments += [grad_input + blocked + (2 if last else 1) * plain + 2 * grad_bias]
        if any(size < side for size, side in zip(x.shape[2:], weight.shape[2:], strict=True)):
            # Of maps smaller than the kernel, by products of matrices.
            moments += [grad_input + (1 + COPIES_OF_A_GRADIENT) * plain + grad_bias]
    return max(0, max(moments) - grad_input - (plain if needs_weight else 0) - grad_bias)


def _workspace(matrix: Tensor) -> int:
    """Return what LAPACK's syevd asks for: 1 + 6n + 2n^2 numbers and 3 + 5n integers."""
    size = matrix.shape[-1]
    return matrix.element_size() * (1 + 6 * size + 2 * size**2) + 4 * (3 + 5 * size)
