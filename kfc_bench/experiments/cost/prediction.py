"""Whether a case is worth trying: the memory and the time that it will take, told before anything is built."""

from __future__ import annotations

from dataclasses import replace

from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.curvature.footprint import Footprint
from kfc_bench.experiments.cost.case import SGD, CostCase, Phase
from kfc_bench.experiments.cost.work import work
from kfc_bench.measure.ceilings import measured_ceilings
from kfc_bench.measure.memory import available_bytes
from kfc_bench.problems.networks import NETWORKS
from kfc_bench.results.schema import Record

GATHERS = ("input_factor", "reduced_input_factor")
FORMS = ("diagonal_fisher", "block_fisher", "mini_block_fisher", "eigenvalue_correction")
"""Operators whose plain computation holds patches, and those where it holds per-example gradients too."""

STARTS_FROM: dict[str | None, tuple[Phase, ...]] = {
    "refresh": ("accumulate",),
    "precondition": ("refresh", "accumulate"),
}
"""The phases that run once before another can be measured."""


def _footprints(case: CostCase) -> list[Footprint]:
    all_classes = case.phase == "step" and case.fisher == "type2"
    vectors = NETWORKS[str(case.network)].classes if all_classes else 1
    size = case.operands.itemsize
    return [Footprint(geometry, case.batch, vectors, size) for geometry in case.geometries]


def buffer_bytes(case: CostCase) -> int:
    """Predict what the plain computation of a case holds beyond what it is given, results included.

    Args:
        case: The case.

    Returns:
        Bytes.
    """
    layers = _footprints(case)
    if case.operator in GATHERS:
        return layers[0].gathering
    if case.operator in FORMS:
        return layers[0].forming
    if case.approximation in (None, SGD):
        return 0
    predicted = APPROXIMATIONS[str(case.approximation)].predicted_bytes(
        case.geometries, case.batch, layers[0].vectors, case.operands.itemsize
    )
    return predicted.accumulate if case.phase == "accumulate" else max(predicted.accumulate, predicted.refresh)


def predicted_bytes(case: CostCase) -> int:
    """Predict the memory that a case needs at its peak with the plain operators, its check in float64 apart.

    Every implementation is checked against the plain one, so that is what must fit.

    Args:
        case: The case.

    Returns:
        Bytes, inputs included.
    """
    if case.operator is not None:
        cost = work(case)
        given = int(cost.bytes_minimal) if cost is not None else 0
    else:
        given = sum(layer.given for layer in _footprints(case))
    return given + buffer_bytes(case)


def predicted_seconds(case: CostCase) -> float | None:
    """Predict what a call of the plain computation takes where it meets the device's measured ceilings.

    What it gathers is written once and read once. Real calls take longer, as they reach no ceiling.

    Args:
        case: The case.

    Returns:
        Seconds; None for a step, which has no cost model.
    """
    cost = work(case)
    if cost is None:
        return None
    ceilings = measured_ceilings(case.device, case.operands, case.cache)
    through_buffers = 2 * buffer_bytes(case) if case.phase in (None, "accumulate") else 0
    return cost.flops_algorithm / ceilings.flops_per_s + (cost.bytes_minimal + through_buffers) / ceilings.bytes_per_s


def infeasible(case: CostCase) -> Record | None:
    """Tell whether a case is predicted to break its limits; nothing of it is built.

    Args:
        case: The case.

    Returns:
        The record of a case that is not tried, ``unsupported`` with the reason; None for one to try.
    """
    needed = predicted_bytes(case)
    limit = case.memory_limit_bytes or available_bytes(case.device)
    if needed > limit:
        reason = f"predicted to need {needed / 2**30:.2f} GiB, the limit is {limit / 2**30:.2f} GiB"
        return {"status": "unsupported", "reason": reason, "predicted_bytes": needed}
    if case.call_limit_s is None:
        return None
    for phase in (case.phase, *STARTS_FROM.get(case.phase, ())):
        seconds = predicted_seconds(replace(case, phase=phase))
        if seconds is not None and seconds > case.call_limit_s:
            what = "predicted" if phase == case.phase else f"starts from a {phase} predicted"
            reason = f"{what} to take {seconds:.2g} s a call, the limit is {case.call_limit_s:g} s"
            return {"status": "unsupported", "reason": reason, "predicted_call_s": seconds}
    return None
