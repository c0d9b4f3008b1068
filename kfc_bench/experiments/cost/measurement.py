"""One cost case under way: gate first, then visits, then the record."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch

from kfc_bench.contestants import contestants
from kfc_bench.experiments.cost.case import CostCase
from kfc_bench.experiments.cost.prediction import infeasible
from kfc_bench.experiments.cost.work import work
from kfc_bench.experiments.cost.workloads import Workload, build
from kfc_bench.measure.ceilings import measured_ceilings
from kfc_bench.measure.clock import Clock, clock_for
from kfc_bench.measure.correctness import ROW_FACTOR, error_gate, relative_error, worst_row_error
from kfc_bench.measure.memory import PeakMemory, is_out_of_memory, peak_memory
from kfc_bench.measure.precision import set_precision
from kfc_bench.measure.visits import Visits
from kfc_bench.results.schema import Record
from kfc_kernels import UnsupportedError

SUSPECT = 1.1
"""A case this much faster than the roofline's floor is suspect: shown, and to be looked at."""


@dataclass(frozen=True)
class Gate:
    """A case's error against float64, and what it may be."""

    error: float
    row_error: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the whole and its worst row are within the limit."""
        return self.error <= self.limit and self.row_error <= ROW_FACTOR * self.limit


@dataclass
class Declined:
    """A case that ended before its first visit."""

    result: Record

    def visit(self) -> bool:
        """Want no visit."""
        return False

    def record(self) -> Record:
        """Return the record."""
        return self.result


@dataclass
class CostMeasurement:
    """A case that passed its gate.

    Attributes:
        case: The case.
        workload: What is timed.
        gate: How it passed.
        first_call_s: Duration of the very first call.
        memory: Peaks of one call.
    """

    case: CostCase
    workload: Workload
    gate: Gate
    first_call_s: float
    memory: PeakMemory
    clock: Clock
    visits: Visits = field(init=False)

    def __post_init__(self) -> None:
        self.visits = Visits(self.case.rule)

    @property
    def visit_medians(self) -> list[float]:
        """Each visit's median so far, in seconds."""
        return self.visits.medians

    def visit(self) -> bool:
        """Take one burst of samples; return whether the stopping rule wants more."""
        self.visits.visit(self.clock, self.workload.sample)
        return self.visits.stop_reason is None

    def record(self) -> Record:
        """Return times, memory, work, and where the time stands under the roofline."""
        median, interval = self.visits.median, self.visits.interval
        low, high = interval if interval is not None else (None, None)
        record: Record = {
            "status": "ok",
            "implementation": self.workload.implementation,
            "rel_error": self.gate.error,
            "error_gate": self.gate.limit,
            "time_median_s": median,
            "time_ci_low_s": low,
            "time_ci_high_s": high,
            "visits": len(self.visits.bursts),
            "samples": self.visits.samples,
            "visit_medians_s": self.visit_medians,
            "stop_reason": self.visits.stop_reason,
            "compile_s": max(0.0, self.first_call_s - median)
            if self.workload.implementation.startswith("triton")
            else None,
            "peak_memory_bytes": self.memory.allocator_bytes,
            "peak_rss_bytes": self.memory.rss_bytes,
        }
        cost = work(self.case)
        if cost is not None:
            ceilings = measured_ceilings(self.case.device, self.case.operands)
            floor = ceilings.least_seconds(cost.flops_minimal, cost.bytes_minimal)
            record |= {
                "flops_algorithm": cost.flops_algorithm,
                "flops_minimal": cost.flops_minimal,
                "bytes_minimal": cost.bytes_minimal,
                "percent_of_limit": 100 * floor / median,
                "suspect": floor > SUSPECT * median,
            }
        return record


def _judge(case: CostCase, outputs: list[torch.Tensor], workload: Workload) -> Gate:
    exact = build(case, dtype=torch.float64, implementation="reference", given=workload.state)
    reference = [tensor.double() for tensor in exact.once()]
    scaled = [output.double() * workload.scale for output in outputs]
    plain_error = None
    if workload.implementation.startswith("triton") or workload.implementation in contestants():
        plain = build(case, dtype=case.operands, implementation="reference", given=workload.state)
        plain_error = relative_error(plain.once(), reference)
    limit = error_gate(
        terms=exact.terms,
        dtype=torch.promote_types(case.operands, torch.float32),
        operands=case.operands,
        condition=exact.condition(),
        plain_error=plain_error,
    )
    return Gate(relative_error(scaled, reference), worst_row_error(scaled, reference), limit)


def open_case(case: CostCase) -> CostMeasurement | Declined:
    """Prepare a case: predict, run once, check, measure memory.

    Args:
        case: The case.

    Returns:
        A measurement that can be visited, or one that has ended as ``unsupported`` or ``wrong``.
    """
    set_precision(case.precision)
    declined = infeasible(case)
    if declined is not None:
        return Declined(declined)
    clock = clock_for(case.device)
    workload = build(case, dtype=case.operands, implementation=case.implementation)
    start = time.perf_counter()
    outputs = workload.once()
    clock.synchronize()
    first_call = time.perf_counter() - start
    gate = _judge(case, outputs, workload)
    if not gate.passed:
        reason = (
            f"error {gate.error:.1e} against float64 (worst row {gate.row_error:.1e}), "
            f"but {gate.limit:.1e} (row {ROW_FACTOR * gate.limit:.1e}) is the most for this sum and precision"
        )
        return Declined({"status": "wrong", "reason": reason, "rel_error": gate.error, "error_gate": gate.limit})
    del outputs
    memory, _ = peak_memory(workload.once, case.device)
    workload.sample(clock)
    return CostMeasurement(case, workload, gate, first_call, memory, clock)


def classify(error: Exception) -> tuple[str, str]:
    """Turn what a case raised into a status and a reason.

    Args:
        error: The exception.

    Returns:
        ``oom``, ``unsupported`` or ``crashed``, and one line.
    """
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    if is_out_of_memory(error):
        return "oom", reason
    if isinstance(error, UnsupportedError):
        return "unsupported", str(error)
    return "crashed", reason
