"""Apply an inverted Fisher approximation to gradients."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kfc_kernels.dispatch import Case, Implementation, Operator, declines_without_triton

OPERATOR = Operator(
    "precondition",
    (
        Implementation(
            "triton_grouped_gemm",
            "kfc_kernels.precondition.triton_grouped_gemm",
            "precondition",
            declines_without_triton,
        ),
        Implementation("reference", "kfc_kernels.precondition.reference", "precondition"),
    ),
)
DIAGONAL_OPERATOR = Operator(
    "precondition_diagonal",
    (Implementation("reference", "kfc_kernels.precondition.reference", "precondition_diagonal"),),
)
DENSE_OPERATOR = Operator(
    "precondition_dense", (Implementation("reference", "kfc_kernels.precondition.reference", "precondition_dense"),)
)


def _same_length(**lists: Sequence[object]) -> None:
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "one of each per layer is needed, not " + ", ".join(f"{n} {name}" for name, n in lengths.items())
        )


def precondition(
    gradients: Sequence[Tensor],
    output_inverses: Sequence[Tensor],
    input_inverses: Sequence[Tensor],
    *,
    implementation: str = "auto",
) -> list[Tensor]:
    """Compute Gamma^-1 G Omega^-1 for each layer (Eq. 22).

    Args:
        gradients: One ``[K, D]`` per layer, with groups ``[groups, K/groups, D]``; sizes unlike.
        output_inverses: Damped inverses of Gamma, ``[K, K]`` or ``[groups, K/groups, K/groups]``.
        input_inverses: Damped inverses of Omega, ``[D, D]`` or ``[groups, D, D]``.
        implementation: A name from ``OPERATOR.table``, or ``"auto"``.

    Returns:
        One natural gradient per layer, shaped as ``gradients``.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: The lists differ in length.
    """
    _same_length(gradients=gradients, output_inverses=output_inverses, input_inverses=input_inverses)
    if not gradients:
        return []
    run = OPERATOR.choose(implementation, Case(None, gradients[0].dtype, gradients[0].device))
    return run(gradients, output_inverses, input_inverses)


def precondition_diagonal(
    gradients: Sequence[Tensor], diagonals: Sequence[Tensor], damping: float, *, implementation: str = "auto"
) -> list[Tensor]:
    """Compute G / (diagonal + damping) for each layer.

    Args:
        gradients: One tensor per layer.
        diagonals: The Fisher's diagonal, shaped as ``gradients``.
        damping: lambda + gamma, added directly.
        implementation: A name from ``DIAGONAL_OPERATOR.table``, or ``"auto"``.

    Returns:
        One natural gradient per layer, shaped as ``gradients``.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: The lists differ in length.
    """
    _same_length(gradients=gradients, diagonals=diagonals)
    if not gradients:
        return []
    run = DIAGONAL_OPERATOR.choose(implementation, Case(None, gradients[0].dtype, gradients[0].device))
    return run(gradients, diagonals, damping)


def precondition_dense(
    gradients: Sequence[Tensor], inverses: Sequence[Tensor], *, implementation: str = "auto"
) -> list[Tensor]:
    """Compute F^-1 vec(G) for each layer or whole network.

    Args:
        gradients: One ``[K, D]`` (or ``[P]``) per block, with groups ``[groups, K/groups, D]``.
        inverses: Damped inverses of blocks in row-major order, ``[KD, KD]`` or ``[groups, KD/groups, KD/groups]``.
        implementation: A name from ``DENSE_OPERATOR.table``, or ``"auto"``.

    Returns:
        One natural gradient per block, shaped as ``gradients``.

    Raises:
        UnsupportedError: The implementation does not take this case.
        ValueError: The lists differ in length.
    """
    _same_length(gradients=gradients, inverses=inverses)
    if not gradients:
        return []
    run = DENSE_OPERATOR.choose(implementation, Case(None, gradients[0].dtype, gradients[0].device))
    return run(gradients, inverses)
