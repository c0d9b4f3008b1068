"""FLOPs and bytes of a cost case, from its operators' cost models."""

from __future__ import annotations

from kfc_bench.experiments.cost.case import SGD, CostCase
from kfc_kernels import ConvGeometry
from kfc_kernels.cost import NOTHING, Cost, inverse_cost, operator_cost

ACCUMULATE = {
    "kfc": ("input_factor", "output_factor"),
    "diagonal": ("diagonal_fisher",),
    "block_diagonal": ("block_fisher",),
}
PRECONDITION = {"kfc": "precondition", "diagonal": "precondition_diagonal", "block_diagonal": "precondition_dense"}


def _of_layer(case: CostCase, geometry: ConvGeometry, element_size: int) -> Cost:
    name = str(case.approximation)
    if case.phase == "accumulate":
        costs = [
            operator_cost(operator, geometry, case.batch, element_size=element_size) for operator in ACCUMULATE[name]
        ]
        return sum(costs, NOTHING)
    if case.phase == "precondition":
        return operator_cost(PRECONDITION[name], geometry, case.batch, element_size=element_size)
    if name == "kfc":
        return operator_cost("damped_inverse", geometry, case.batch, element_size=element_size)
    if name == "block_diagonal":
        return inverse_cost(geometry.groups, geometry.group_outputs * geometry.patch_dim, element_size)
    return NOTHING


def main_operator(case: CostCase) -> str | None:
    """Name the operator whose implementation a case's ``"auto"`` is about; None where there is but one way."""
    if case.operator is not None:
        return case.operator
    table = {"accumulate": {name: operators[0] for name, operators in ACCUMULATE.items()}, "precondition": PRECONDITION}
    phase = "accumulate" if case.phase == "step" else str(case.phase)
    return table.get(phase, {}).get(str(case.approximation))


def work(case: CostCase) -> Cost | None:
    """Count what a case computes.

    Args:
        case: The case.

    Returns:
        Its FLOPs and bytes; None for a step, whose forward and backward passes have no cost model here.
    """
    size = case.operands.itemsize
    if case.operator is not None:
        return operator_cost(case.operator, case.geometries[0], case.batch, element_size=size)
    if case.phase == "step":
        return None
    if case.approximation == SGD:
        return NOTHING
    if case.approximation == "exact":
        whole = ConvGeometry.linear(1, sum(geometry.parameters for geometry in case.geometries))
        if case.phase == "refresh":
            return inverse_cost(1, whole.parameters, size)
        operator = "exact_fisher" if case.phase == "accumulate" else "precondition_dense"
        return operator_cost(operator, whole, case.batch, element_size=size)
    return sum((_of_layer(case, geometry, size) for geometry in case.geometries), NOTHING)
