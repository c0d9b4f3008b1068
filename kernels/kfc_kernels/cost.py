"""How much work each operator is: FLOPs that run, FLOPs that must, bytes that must move."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor.work import least_flops


@dataclass(frozen=True)
class Cost:
    """Work of one call.

    Attributes:
        flops_algorithm: Multiplications and additions of the plain implementation.
        flops_minimal: The least that any implementation here does: symmetric results computed by half.
        bytes_minimal: Operands read once, results written once.
    """

    flops_algorithm: float
    flops_minimal: float
    bytes_minimal: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops_algorithm + other.flops_algorithm,
            self.flops_minimal + other.flops_minimal,
            self.bytes_minimal + other.bytes_minimal,
        )


NOTHING = Cost(0, 0, 0)


def _symmetric(rows: float, size: float) -> tuple[float, float]:
    """FLOPs of ``X^T X`` for ``[rows, size]``: the full product, and one triangle of it."""
    return 2 * rows * size**2, rows * size * (size + 1)


def operator_cost(
    operator: str, geometry: ConvGeometry, batch: int, *, vectors: int = 1, element_size: int = 4
) -> Cost:
    """Count the work of an operator on one layer.

    Args:
        operator: A key of `kfc_kernels.catalogue.OPERATORS`.
        geometry: The layer.
        batch: Examples N.
        vectors: Backpropagated vectors V per example.
        element_size: Bytes per number.

    Returns:
        The work of one call.

    Raises:
        KeyError: There is no such operator.
    """
    groups, positions, patch, outputs = geometry.groups, geometry.positions, geometry.patch_dim, geometry.group_outputs
    block = outputs * patch
    inputs = batch * geometry.in_channels * math.prod(geometry.in_size)
    gradients = vectors * batch * geometry.out_channels * positions
    form_gradients = 2.0 * groups * vectors * batch * positions * block

    def cost(algorithm: float, minimal: float, elements: float) -> Cost:
        return Cost(algorithm, minimal, elements * element_size)

    match operator:
        case "input_factor":
            full, _ = _symmetric(batch * positions, patch)
            return cost(groups * full, least_flops(geometry, batch), inputs + groups * patch**2)
        case "output_factor":
            full, half = _symmetric(vectors * batch * positions, outputs)
            return cost(groups * full, groups * half, gradients + groups * outputs**2)
        case "reduced_input_factor":
            full, half = _symmetric(batch, patch)
            sums = groups * batch * positions * patch
            return cost(sums + groups * full, inputs + groups * half, inputs + groups * patch**2)
        case "reduced_output_factor":
            full, half = _symmetric(vectors * batch, outputs)
            return cost(gradients + groups * full, gradients + groups * half, gradients + groups * outputs**2)
        case "diagonal_fisher":
            work = form_gradients + 2 * groups * vectors * batch * block
            return cost(work, work, inputs + gradients + groups * block)
        case "block_fisher":
            full, half = _symmetric(vectors * batch, block)
            return cost(
                form_gradients + groups * full, form_gradients + groups * half, inputs + gradients + groups * block**2
            )
        case "mini_block_fisher":
            kernel = geometry.kernel_elements
            rows, size, blocks = (
                (vectors * batch * outputs, patch, groups)
                if kernel == 1
                else (vectors * batch, kernel, geometry.out_channels * geometry.in_channels // groups)
            )
            full, half = _symmetric(rows, size)
            least = form_gradients + blocks * half
            if kernel == 1:
                # A^T (g^T g) A of each vector and example forms no gradient: with one position, |g|^2 a a^T.
                pairs = positions**2 * 2 * outputs
                _, of_patches = _symmetric(positions, patch)
                mixing = 2 * positions**2 * patch if positions > 1 else 0
                least = min(least, groups * vectors * batch * (pairs + mixing + of_patches))
            return cost(form_gradients + blocks * full, least, inputs + gradients + blocks * size**2)
        case "exact_fisher":
            full, half = _symmetric(vectors * batch, groups * block)
            return cost(full, half, vectors * batch * groups * block + (groups * block) ** 2)
        case "eigenvalue_correction":
            rotate = 2 * groups * vectors * batch * (outputs * block + block * patch)
            squares = 2 * groups * vectors * batch * block
            left = vectors * outputs**2 * min(positions, patch)
            right = patch**2 * min(positions, vectors * outputs)
            least = form_gradients + 2 * groups * batch * (left + right) + squares
            return cost(
                form_gradients + rotate + squares, least, inputs + gradients + groups * (patch**2 + outputs**2 + block)
            )
        case "damped_inverse":
            return inverse_cost(groups, patch, element_size) + inverse_cost(groups, outputs, element_size)
        case "precondition":
            work = 2 * groups * (outputs * block + block * patch)
            return cost(work, work, groups * (2 * block + patch**2 + outputs**2))
        case "precondition_diagonal":
            return cost(2 * groups * block, 2 * groups * block, 3 * groups * block)
        case "precondition_dense":
            return cost(2 * groups * block**2, 2 * groups * block**2, groups * (2 * block + block**2))
    raise KeyError(f"no cost model for operator {operator!r}")


def inverse_cost(groups: int, size: int, element_size: int = 4) -> Cost:
    """Count the inversion of ``[groups, size, size]`` through Cholesky: n^3/3 to factor, 2n^3/3 to invert."""
    return Cost(groups * size**3, groups * size**3, 2 * groups * size**2 * element_size)
