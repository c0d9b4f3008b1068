"""What one of torch's operations does, told from the shapes of its operands: class, FLOPs, bytes, scratch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from kfc_bench.prediction.scratch import filled_up, scratch_bytes, stored_bytes

OVERHEAD = "overhead"
MOVEMENT = "movement"
RELEASE = "release"
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
    **dict.fromkeys(
        ("max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "max_pool3d_with_indices"), "pooling"
    ),
    **dict.fromkeys(("native_batch_norm", "native_layer_norm", "native_group_norm"), "normalisation"),
    **dict.fromkeys(("_native_batch_norm_legit", "cudnn_batch_norm"), "normalisation"),
    **dict.fromkeys(
        ("sum", "mean", "aminmax", "amax", "linalg_vector_norm", "_foreach_norm", "all", "var"), "reduction"
    ),
}
"""Operations by what bounds them. Those that are not here move bytes."""

MULTIPLYING = (CONVOLUTION, CONVOLUTION_BACKWARD, PRODUCT, "cholesky", "eigenvectors")
"""Classes whose FLOPs count beside their bytes."""

KINDS: tuple[str, ...] = (OVERHEAD, RELEASE, MOVEMENT, *dict.fromkeys(CLASSES.values()))

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
    moved = sum(map(stored_bytes, tensors((arguments, keywords)))) + sum(map(stored_bytes, tensors(result)))
    scratch = scratch_bytes(name, arguments, tensors(result))
    if kind in (CONVOLUTION, CONVOLUTION_BACKWARD):
        return Operation(kind, _convolution_flops(arguments, kind), moved, scratch)
    if base in CUBES:
        matrix = tensors(arguments)[0]
        return Operation(kind, CUBES[base] * matrix.numel() * matrix.shape[-1], moved, scratch)
    count: Callable[..., int] | None = flop_registry.get(function.overloadpacket)
    flops = 0 if count is None else count(*arguments, **keywords, out_val=result)
    return Operation(kind if flops or kind != PRODUCT else MOVEMENT, float(flops), moved, scratch)


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
    pairs = filled_up(inner, groups) * filled_up(outer, groups) / groups
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
