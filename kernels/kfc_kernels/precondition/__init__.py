"""Apply an inverted Fisher approximation to gradients."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator, declines_without_triton

MODULES = "kfc_kernels.precondition"


def declines_gpus(case: Case) -> str | None:
    """Decline a GPU, where parts are launches."""
    return None if case.device.type == "cpu" else f"saves a CPU's cache, and takes no {case.device.type}"


OPERATOR = Operator(
    "precondition",
    (
        Implementation(
            "triton_grouped_gemm",
            f"{MODULES}.triton_grouped_gemm",
            "precondition",
            declines_without_triton,
        ),
        Implementation("reference", f"{MODULES}.reference", "precondition"),
    ),
)
DIAGONAL_OPERATOR = Operator(
    "precondition_diagonal",
    (
        Implementation(
            "triton_foreach",
            f"{MODULES}.triton_foreach",
            "precondition_diagonal",
            declines_without_triton,
        ),
        Implementation("chunked", f"{MODULES}.chunked", "precondition_diagonal", declines_gpus),
        Implementation("reference", f"{MODULES}.reference", "precondition_diagonal"),
    ),
)
DENSE_OPERATOR = Operator(
    "precondition_dense",
    (
        Implementation("triton_matvec", f"{MODULES}.triton_matvec", "precondition_dense", declines_without_triton),
        Implementation("reference", f"{MODULES}.reference", "precondition_dense"),
    ),
)


def _same_length(**lists: Sequence[object]) -> None:
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "one of each per layer is needed, not " + ", ".join(f"{n} {name}" for name, n in lengths.items())
        )


def _nothing(squared_norm: Tensor | None) -> list[Tensor]:
    if squared_norm is not None:
        squared_norm.zero_()
    return []


def _check_norm(squared_norm: Tensor | None) -> None:
    if squared_norm is not None and squared_norm.shape != ():
        raise ValueError(f"squared_norm has shape {list(squared_norm.shape)}, but is one number")


def precondition(
    gradients: Sequence[Tensor],
    output_inverses: Sequence[Tensor],
    input_inverses: Sequence[Tensor],
    *,
    squared_norm: Tensor | None = None,
    implementation: str = "auto",
) -> list[Tensor]:
    """Compute Gamma^-1 G Omega^-1 for each layer (Eq. 22).

    Args:
        gradients: One ``[K, D]`` per layer, with groups ``[groups, K/groups, D]``; sizes unlike.
        output_inverses: Damped inverses of Gamma, ``[K, K]`` or ``[groups, K/groups, K/groups]``.
        input_inverses: Damped inverses of Omega, ``[D, D]`` or ``[groups, D, D]``.
        squared_norm: A number ``[]`` that is overwritten with the sum of all results' squares, as clipping needs it.
        implementation: A name from ``OPERATOR.table``, or ``"auto"``.

    Returns:
        One natural gradient per layer, shaped as ``gradients``.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: The lists differ in length, or ``squared_norm`` is not one number.
    """
    _same_length(gradients=gradients, output_inverses=output_inverses, input_inverses=input_inverses)
    _check_norm(squared_norm)
    if not gradients:
        return _nothing(squared_norm)
    run = OPERATOR.choose(implementation, Case(None, gradients[0].dtype, gradients[0].device))
    return run(gradients, output_inverses, input_inverses, squared_norm=squared_norm)


def precondition_diagonal(
    gradients: Sequence[Tensor],
    diagonals: Sequence[Tensor],
    damping: float,
    *,
    momentum: float = 0.0,
    buffers: Sequence[Tensor] | None = None,
    squared_norm: Tensor | None = None,
    implementation: str = "auto",
) -> list[Tensor]:
    """Compute v = G / (diagonal + damping) for each layer, and with buffers p <- momentum * p + v.

    Args:
        gradients: One tensor per layer.
        diagonals: The Fisher's diagonal, shaped as ``gradients``.
        damping: lambda + gamma, added directly.
        momentum: mu, where there are buffers.
        buffers: Momentum buffers p, shaped as ``gradients``, updated in place.
        squared_norm: A number ``[]`` that is overwritten with the sum of the squares of all v.
        implementation: A name from ``DIAGONAL_OPERATOR.table``, or ``"auto"``.

    Returns:
        One v per layer, shaped as ``gradients``; with buffers, these.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: The lists differ in length or shapes, momentum has no buffers, or ``squared_norm`` is no number.
    """
    _same_length(gradients=gradients, diagonals=diagonals, **({} if buffers is None else {"buffers": buffers}))
    _check_norm(squared_norm)
    if momentum and buffers is None:
        raise ValueError(f"momentum {momentum} needs buffers")
    for name, tensors in (("diagonal", diagonals), ("buffer", buffers or ())):
        for gradient, tensor in zip(gradients, tensors, strict=False):
            if tensor.shape != gradient.shape:
                raise ValueError(
                    f"a gradient of shape {list(gradient.shape)} has a {name} of shape {list(tensor.shape)}"
                )
    if not gradients:
        return _nothing(squared_norm)
    run = DIAGONAL_OPERATOR.choose(implementation, Case(None, gradients[0].dtype, gradients[0].device))
    return run(gradients, diagonals, damping, momentum=momentum, buffers=buffers, squared_norm=squared_norm)


def precondition_dense(
    gradients: Sequence[Tensor],
    inverses: Sequence[Tensor],
    *,
    squared_norm: Tensor | None = None,
    implementation: str = "auto",
) -> list[Tensor]:
    """Compute F^-1 vec(G) for each layer or whole network.

    Args:
        gradients: One ``[K, D]`` (or ``[P]``) per block, with groups ``[groups, K/groups, D]``.
        inverses: Damped inverses of blocks in row-major order, ``[KD, KD]`` or ``[groups, KD/groups, KD/groups]``.
        squared_norm: A number ``[]`` that is overwritten with the sum of all results' squares.
        implementation: A name from ``DENSE_OPERATOR.table``, or ``"auto"``.

    Returns:
        One natural gradient per block, shaped as ``gradients``.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: The lists differ in length, or ``squared_norm`` is not one number.
    """
    _same_length(gradients=gradients, inverses=inverses)
    _check_norm(squared_norm)
    if not gradients:
        return _nothing(squared_norm)
    run = DENSE_OPERATOR.choose(implementation, Case(None, gradients[0].dtype, gradients[0].device))
    return run(gradients, inverses, squared_norm=squared_norm)
