"""FLOPs and bytes of a cost case, from its operators' cost models."""

from __future__ import annotations

from kfc_bench.experiments.cost.case import SGD, CostCase
from kfc_bench.experiments.cost.layer_work import ACCUMULATE, OF_CHANNELS, PRECONDITION, channels_alone, layer_cost
from kfc_kernels import ConvGeometry
from kfc_kernels.cost import NOTHING, Cost, inverse_cost, operator_cost


def main_operator(case: CostCase) -> str | None:
    """Name the operator whose implementation a case's ``"auto"`` is about; None where there is but one way."""
    if case.operator is not None:
        return case.operator
    table = {"accumulate": {name: operators[0] for name, operators in ACCUMULATE.items()}, "precondition": PRECONDITION}
    phase = "accumulate" if case.phase == "step" else str(case.phase)
    return table.get(phase, {}).get(str(case.approximation))


def main_geometry(case: CostCase) -> ConvGeometry:
    """Return the layer that the first call of a case's main operator sees."""
    first = case.geometries[0]
    return channels_alone(first) if case.approximation in OF_CHANNELS else first


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
    layers = (
        layer_cost(str(case.approximation), str(case.phase), layer, case.batch, size) for layer in case.geometries
    )
    return sum(layers, NOTHING)
