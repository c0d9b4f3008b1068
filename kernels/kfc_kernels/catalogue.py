"""Every operator by name, and what can run it where."""

from __future__ import annotations

import torch

from kfc_kernels.block_fisher import MINI_OPERATOR
from kfc_kernels.block_fisher import OPERATOR as BLOCK_FISHER
from kfc_kernels.damped_inverse import OPERATOR as DAMPED_INVERSE
from kfc_kernels.diagonal_fisher import OPERATOR as DIAGONAL_FISHER
from kfc_kernels.dispatch import Case, Operator
from kfc_kernels.eigenvalue_correction import OPERATOR as EIGENVALUE_CORRECTION
from kfc_kernels.exact_fisher import OPERATOR as EXACT_FISHER
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor import OPERATOR as INPUT_FACTOR
from kfc_kernels.output_factor import OPERATOR as OUTPUT_FACTOR
from kfc_kernels.precondition import DENSE_OPERATOR, DIAGONAL_OPERATOR
from kfc_kernels.precondition import OPERATOR as PRECONDITION
from kfc_kernels.reduced_input_factor import OPERATOR as REDUCED_INPUT_FACTOR
from kfc_kernels.reduced_output_factor import OPERATOR as REDUCED_OUTPUT_FACTOR

OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        INPUT_FACTOR,
        OUTPUT_FACTOR,
        REDUCED_INPUT_FACTOR,
        REDUCED_OUTPUT_FACTOR,
        DIAGONAL_FISHER,
        BLOCK_FISHER,
        MINI_OPERATOR,
        EXACT_FISHER,
        EIGENVALUE_CORRECTION,
        DAMPED_INVERSE,
        PRECONDITION,
        DIAGONAL_OPERATOR,
        DENSE_OPERATOR,
    )
}


def implementations(
    operator: str,
    geometry: ConvGeometry | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    batch: int = 1,
) -> list[str]:
    """List the implementations that take a case, the one that ``"auto"`` picks first.

    Args:
        operator: A key of `OPERATORS`.
        geometry: The layer, for operators that see one.
        dtype: Element type of the operands.
        device: Where they lie.
        batch: Examples N.

    Returns:
        Their names.

    Raises:
        KeyError: There is no such operator.
    """
    return OPERATORS[operator].accepting(Case(geometry, dtype, torch.device(device), batch))
