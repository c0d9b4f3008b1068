"""FLOPs and bytes of each approximation's phases on one layer."""

from __future__ import annotations

from kfc_kernels import ConvGeometry
from kfc_kernels.cost import NOTHING, Cost, inverse_cost, operator_cost

ACCUMULATE = {
    "kfc": ("input_factor", "output_factor"),
    "kfc_reduce": ("reduced_input_factor", "reduced_output_factor"),
    "kfc_eigen": ("input_factor", "output_factor"),
    "ekfac": ("input_factor", "output_factor", "eigenvalue_correction"),
    "sua": ("input_factor", "output_factor"),
    "prong": ("input_factor",),
    "diagonal": ("diagonal_fisher",),
    "mini_block": ("mini_block_fisher",),
    "block_diagonal": ("block_fisher",),
}
PRECONDITION = {
    "kfc": "precondition",
    "kfc_reduce": "precondition",
    "kfc_eigen": "precondition_diagonal",
    "ekfac": "precondition_diagonal",
    "diagonal": "precondition_diagonal",
    "block_diagonal": "precondition_dense",
}
"""The operators that a phase calls; SUA, PRONG and mini-blocks precondition by torch's own products."""

OF_CHANNELS = ("sua", "prong")
WITH_BASES = ("kfc_eigen", "ekfac")


def channels_alone(layer: ConvGeometry) -> ConvGeometry:
    """Return the layer whose input factor is that of the channels, over all positions of the input, with a mean."""
    return ConvGeometry.conv(layer.in_channels, layer.out_channels, layer.in_size, 1, groups=layer.groups, bias=True)


def eigen_cost(groups: int, size: int, element_size: int) -> Cost:
    """Count the eigendecomposition of ``[groups, size, size]``: 9n^3 by symmetric QR (Golub & Van Loan, section 8.3).

    Divide and conquer at its best, all deflated, leaves the reduction to tridiagonal form, 4n^3/3, and the products
    that take its vectors back, 2n^3.

    Args:
        groups: Matrices.
        size: n.
        element_size: Bytes per number.

    Returns:
        The work of one call.
    """
    cubes = groups * size**3
    return Cost(9 * cubes, 10 / 3 * cubes, groups * (2 * size**2 + size) * element_size)


def layer_cost(approximation: str, phase: str, layer: ConvGeometry, batch: int, element_size: int) -> Cost:
    """Count a phase on one layer.

    Args:
        approximation: Any that is a sum over layers: neither the exact Fisher nor the identity.
        phase: ``"accumulate"``, ``"refresh"`` or ``"precondition"``.
        layer: The layer.
        batch: Examples N, of one vector each.
        element_size: Bytes per number.

    Returns:
        The work of one call.
    """
    counts = {"accumulate": _accumulate, "refresh": _refresh, "precondition": _precondition}
    return counts[phase](approximation, layer, batch, element_size)


def _accumulate(name: str, layer: ConvGeometry, batch: int, size: int) -> Cost:
    def of(operator: str) -> Cost:
        seen = channels_alone(layer) if name in OF_CHANNELS and operator == "input_factor" else layer
        return operator_cost(operator, seen, batch, element_size=size)

    total = sum(map(of, ACCUMULATE[name]), NOTHING)
    if name == "ekfac":
        # What was read and written for the factors need not be read again for the correction: its result alone is new.
        factors = of("input_factor") + of("output_factor")
        return Cost(total.flops_algorithm, total.flops_minimal, factors.bytes_minimal + _parameters(layer, size))
    if name == "mini_block" and layer.bias and layer.kernel_elements > 1:
        squares = 2 * batch * layer.out_channels
        total += Cost(squares, squares, layer.out_channels * size)
    return total


def _refresh(name: str, layer: ConvGeometry, batch: int, size: int) -> Cost:
    groups, inputs, outputs = layer.groups, layer.patch_dim, layer.group_outputs
    if name in ("kfc", "kfc_reduce"):
        return operator_cost("damped_inverse", layer, batch, element_size=size)
    if name in WITH_BASES:
        found = eigen_cost(groups, inputs, size) + eigen_cost(groups, outputs, size)
        if name == "kfc_eigen":
            # Eigenvalues are multiplied on the spot.
            return found + Cost(layer.parameters, layer.parameters, _parameters(layer, size))
        turns = 2 * groups * (inputs**3 + outputs**3) + groups * (inputs**2 + outputs**2)
        carried = turns + 2 * layer.parameters * (inputs + outputs)
        # The old bases are read, and the diagonal is read and written.
        old = groups * (inputs**2 + outputs**2) * size + 2 * _parameters(layer, size)
        return found + Cost(carried, carried, old)
    if name in OF_CHANNELS:
        channels = layer.in_channels // groups
        blocks = inverse_cost(groups, channels + layer.bias, size) + inverse_cost(groups, channels, size)
        return blocks + (inverse_cost(groups, outputs, size) if name == "sua" else NOTHING)
    if name == "mini_block":
        if layer.kernel_elements == 1:
            return inverse_cost(groups, inputs, size)
        return inverse_cost(layer.out_channels * (layer.in_channels // groups), layer.kernel_elements, size)
    if name == "block_diagonal":
        return inverse_cost(groups, outputs * inputs, size)
    return NOTHING


def _precondition(name: str, layer: ConvGeometry, batch: int, size: int) -> Cost:
    groups, inputs, outputs, elements = layer.groups, layer.patch_dim, layer.group_outputs, layer.kernel_elements
    channels = layer.in_channels // groups
    moved = 2 * _parameters(layer, size)
    if name in WITH_BASES:
        rotation = operator_cost("precondition", layer, batch, element_size=size)
        flops = 2 * rotation.flops_minimal + 2 * layer.parameters
        return Cost(flops, flops, rotation.bytes_minimal + _parameters(layer, size))
    if name in OF_CHANNELS:
        along = channels + layer.bias
        matrices = along**2 + channels**2 + (outputs**2 if name == "sua" else 0)

        def products(across: int) -> float:
            """Count those of one direction along the mean and so many across it."""
            inner = along**2 + across * channels**2
            outer = outputs * (along + across * channels) if name == "sua" else 0
            return 2 * groups * outputs * (inner + outer)

        # All elements of the kernel are multiplied, though what is left without their mean has one dimension fewer;
        # the mean is taken, subtracted, and added.
        around = 3 * groups * outputs * channels * elements
        return Cost(products(elements) + around, products(elements - 1), moved + groups * matrices * size)
    if name == "mini_block":
        if elements == 1:
            flops, held = 2 * groups * outputs * inputs**2, groups * inputs**2
        else:
            biases = layer.out_channels * layer.bias
            flops = 2 * layer.out_channels * channels * elements**2 + 2 * biases
            held = layer.out_channels * channels * elements**2 + biases
        return Cost(flops, flops, moved + held * size)
    return operator_cost(PRECONDITION[name], layer, batch, element_size=size)


def _parameters(layer: ConvGeometry, size: int) -> int:
    return layer.parameters * size
