"""What one of torch's operations does, told from the shapes of its operands: class, FLOPs, bytes, scratch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

CHANNELS_OF_A_BLOCK = 8
"""Channels that a CPU's library of convolutions lays side by side; fewer are filled up with zeros."""

OVERHEAD = "overhead"
MOVEMENT = "movement"
CONVOLUTION = "convolution"
CONVOLUTION_BACKWARD = "convolution backward"
PRODUCT = "product"

CLASSES: dict[str, str] = {
    "convolution": CONVOLUTION,
    "convolution_overrideable": CONVOLUTION,
    "convolution_backward": CONVOLUTION_BACKWARD,
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "addbmm"), PRODUCT),
    **dict.fromkeys(("cholesky", "linalg_cholesky_ex", "cholesky_inverse", "cholesky_solve"), "cholesky"),
    **dict.fromkeys(("linalg_inv_ex", "linalg_solve_triangular", "linalg_lu_factor_ex", "linalg_lu_solve"), "cholesky"),
    **dict.fromkeys(("_linalg_eigh", "linalg_qr", "_linalg_svd", "linalg_eigh"), "eigenvectors"),
    **dict.fromkeys(("pow", "exp", "log", "_softmax", "_log_softmax", "sigmoid", "tanh", "gelu", "silu"), "functions"),
    **dict.fromkeys(("max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "max_pool3d_with_indices"), "pooling"),
    **dict.fromkeys(("native_batch_norm", "native_layer_norm", "native_group_norm"), "normalisation"),
    **dict.fromkeys(("_native_batch_norm_legit", "cudnn_batch_norm"), "normalisation"),
    **dict.fromkeys(("sum", "mean", "aminmax", "amax", "linalg_vector_norm", "_foreach_norm", "all", "var"), "reduction"),
}
"""Operations by what bounds them. Those that are not here move bytes."""

CUBES = {
    "cholesky": 1 / 3,
    "linalg_cholesky_ex": 1 / 3,
    "cholesky_inverse": 2 / 3,
    "cholesky_solve": 2,
    "linalg_inv_ex": 2,
    "linalg_lu_factor_ex": 2 / 3,
    "linalg_lu_solve": 2,
    "linalg_solve_triangular": 1,
    "_linalg_eigh": 9,
    "linalg_eigh": 9,
    "linalg_qr": 4 / 3,
    "_linalg_svd": 20,
}
"""FLOPs of a square matrix over its size cubed (Golub & Van Loan)."""


@dataclass(frozen=True)
class Operation:
    """What one call does.

    Attributes:
        kind: Its class; views and scalars are ``"overhead"``.
        flops: Multiplications and additions; 0 where bytes are what counts.
        bytes: Read and written.
        scratch: Bytes that it holds at its peak beyond operands and results.
    """

    kind: str
    flops: float
    bytes: float
    scratch: int


def tensors(values: object) -> list[Tensor]:
    """List the tensors among arguments or results."""
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def described(
    function: Any, arguments: Sequence[Any], keywords: dict[str, Any], result: Any, *, is_view: bool
) -> Operation:
    """Describe a call.

    Args:
        function: The overload, as ``__torch_dispatch__`` gets it.
        arguments: Its arguments.
        keywords: Its keywords.
        result: What it returned.
        is_view: Whether the result shares memory that the call does not write to.

    Returns:
        What it does.
    """
    name = function.overloadpacket.__name__
    base = name.removesuffix("_") if name.endswith("_") and not name.endswith("__") else name
    base = base.removesuffix("_backward_data")
    forward = base.removesuffix("_backward")
    kind = CLASSES.get(base, CLASSES.get(forward, MOVEMENT))
    if is_view or base in ("empty", "empty_strided", "empty_like", "new_empty", "detach"):
        return Operation(OVERHEAD, 0.0, 0.0, 0)
    moved = sum(map(_bytes, tensors((arguments, keywords)))) + sum(map(_bytes, tensors(result)))
    if kind in (CONVOLUTION, CONVOLUTION_BACKWARD):
        return Operation(kind, _convolution_flops(arguments, kind), moved, _scratch(arguments, result, kind))
    if base in CUBES:
        matrix = tensors(arguments)[0]
        scratch = _workspace(matrix) if base == "_linalg_eigh" else 0
        return Operation(kind, CUBES[base] * matrix.numel() * matrix.shape[-1], moved, scratch)
    count: Callable[..., int] | None = flop_registry.get(function.overloadpacket)
    flops = 0 if count is None else count(*arguments, **keywords, out_val=result)
    return Operation(kind if flops or kind != PRODUCT else MOVEMENT, float(flops), moved, 0)


def _bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor, of an expanded one those that exist."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _bytes_dense(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _filled_up(channels: int, groups: int) -> int:
    block = CHANNELS_OF_A_BLOCK
    return groups * block * math.ceil(channels / groups / block)


def _operands(arguments: Sequence[Any], kind: str) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """Return a convolution's input, weight, output gradient (backward) and groups."""
    if kind == CONVOLUTION:
        return arguments[0], arguments[1], None, arguments[8]
    return arguments[1], arguments[2], arguments[0], arguments[9]


def _convolution_flops(arguments: Sequence[Any], kind: str) -> float:
    """Count the direct sum with channels filled up to whole blocks; backward for each gradient that is asked for."""
    x, weight, gradient, groups = _operands(arguments, kind)
    transposed = bool(arguments[6] if kind == CONVOLUTION else arguments[7])
    inner, outer = (weight.shape[0], weight.shape[1] * groups) if transposed else (x.shape[1], weight.shape[0])
    pairs = _filled_up(inner, groups) * _filled_up(outer, groups) / groups
    if gradient is None:
        stride, padding, dilation = arguments[3], arguments[4], arguments[5]
        sizes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
        out = [(size + 2 * pad - step * (side - 1) - 1) // hop + 1 for size, side, hop, pad, step in sizes]
        places = math.prod(x.shape[2:] if transposed else out)
        passes = 1
    else:
        places = math.prod(x.shape[2:] if transposed else gradient.shape[2:])
        passes = sum(map(bool, arguments[10][:2]))
    return 2.0 * passes * x.shape[0] * places * pairs * math.prod(weight.shape[2:])


def _layout_is_kept(x: Tensor, weight: Tensor) -> bool:
    """Tell whether channels lie last already, so that nothing is laid out anew."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    wanted = formats.get(x.ndim)
    if wanted is None:
        return False
    return any(not tensor.is_contiguous() and tensor.is_contiguous(memory_format=wanted) for tensor in (x, weight))


def _scratch(arguments: Sequence[Any], result: Any, kind: str) -> int:
    """Return what oneDNN holds beside operands and results: copies in blocks of channels.

    Forward, input and weight in blocks beside the output in blocks, which is then copied out. Backward, the same of
    the input's gradient first, then of the weight's. A first layer's few input channels stay as they are. A GPU's
    libraries have workspaces of their own, which nobody can tell beforehand: theirs are not counted.
    """
    x, weight, gradient, groups = _operands(arguments, kind)
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return 0
    size = x.element_size()
    inputs = size * x.shape[0] * _filled_up(x.shape[1], groups) * math.prod(x.shape[2:])
    channels = x.shape[1] // groups
    copied = inputs if channels >= CHANNELS_OF_A_BLOCK or (channels == 1 and gradient is not None) else 0
    plain_weight = size * weight.numel()
    rows = weight.shape[0] if weight.shape[0] < CHANNELS_OF_A_BLOCK else _filled_up(weight.shape[0], groups)
    filled = size * rows * math.prod(weight.shape[2:]) * (_filled_up(weight.shape[1] * groups, groups) // groups)
    kept = _layout_is_kept(x, weight)
    if gradient is None:
        (output,) = tensors(result)
        outputs = 0 if kept else _bytes(output)
        weights = filled if copied else plain_weight
        return weights if kept else max(copied + weights, outputs)
    needs_input, needs_weight, needs_bias = arguments[10]
    outputs = 0 if kept else _bytes(gradient)
    grad_bias = size * weight.shape[0] if needs_bias else 0
    grad_input = _bytes(x) if needs_input else 0
    results = grad_input + (plain_weight if needs_weight else 0) + grad_bias
    made_dense = sum(_bytes_dense(tensor) for tensor in (x, weight, gradient) if not kept and not tensor.is_contiguous())
    moments = [0]
    if needs_input:
        blocks = 0 if kept else inputs
        moments += [outputs + filled + (blocks or grad_input), blocks + grad_input]
    if needs_weight:
        weights = filled if copied else plain_weight
        moments += [grad_input + outputs + (0 if kept else copied) + weights + grad_bias]
        moments += [grad_input + weights + 2 * grad_bias + plain_weight]
    return made_dense + max(0, max(moments) - results)


def _workspace(matrix: Tensor) -> int:
    """Return what LAPACK's syevd asks for: 1 + 6n + 2n^2 numbers and 3 + 5n integers."""
    size = matrix.shape[-1]
    return matrix.element_size() * (1 + 6 * size + 2 * size**2) + 4 * (3 + 5 * size)
