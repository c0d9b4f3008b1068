"""One cost case under way: gate first, then visits, then the record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from kfc_bench.contestants import contestants
from kfc_bench.experiments.cost.case import SGD, CostCase
from kfc_bench.experiments.cost.prediction import infeasible
from kfc_bench.experiments.cost.work import work
from kfc_bench.experiments.cost.workloads import Workload, build
from kfc_bench.measure.ceilings import measured_ceilings, remeasured_ceilings
from kfc_bench.measure.clock import Clock, clock_for
from kfc_bench.measure.correctness import ROW_FACTOR, error_gate, relative_error, worst_row_error
from kfc_bench.measure.energy import joules_per_call
from kfc_bench.measure.memory import PeakMemory, is_out_of_memory, peak_memory
from kfc_bench.measure.precision import operand_rounding, set_precision
from kfc_bench.measure.telemetry import Telemetry, telemetry_for
from kfc_bench.measure.throttle import Watch
from kfc_bench.measure.visits import Visits
from kfc_bench.results.schema import Record
from kfc_kernels import UnsupportedError
from kfc_kernels.cost import Cost

SUSPECT = 0.9
"""A case whose median is under this share of the roofline's floor is suspect: timed again, and shown."""

WARMUP_S = 50e-3
WARMUP_SAMPLES = 3
LONGEST_WARMUP_S = 1.0
"""Samples thrown away first: so many, and for so long, but no more once the last of these has passed."""

TIMEOUT_SHARE = 0.25
"""Share of a case's timeout that it may sleep while the device is throttled."""


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
    """A case that passed its gate and is warm.

    Attributes:
        case: The case.
        workload: What is timed.
        gate: How it passed.
        compile_s: An operator's very first call beyond its second; None where nothing is compiled.
        warmup_s: Duration of the samples thrown away.
        memory: Peaks of one call.
        clock: Takes the samples.
        watch: Looks at the device around each visit.
        energy_j: Joules of a call, where they were asked for and can be known.
        visits: The visits that count.
        timed_again: Whether earlier visits were thrown away because their median was suspect.
    """

    case: CostCase
    workload: Workload
    gate: Gate
    compile_s: float | None
    warmup_s: float
    memory: PeakMemory
    clock: Clock
    watch: Watch
    energy_j: float | None
    visits: Visits = field(init=False)
    timed_again: bool = False

    def __post_init__(self) -> None:
        self.visits = Visits(self.case.rule)
        self._work = work(self.case)
        self._again = False

    @property
    def visit_medians(self) -> list[float]:
        """Each visit's median so far, in seconds."""
        return self.visits.medians

    def visit(self) -> bool:
        """Take one burst of samples.

        More are wanted by the stopping rule, and when it ends a first series that is suspect: with the next visit the
        ceilings are measured anew and a second series begins, which stands.

        Returns:
            Whether more are wanted.
        """
        if self._again:
            self._begin_again()
        self.watch.take(
            lambda: self.visits.visit(self.clock, self.workload.sample),
            self.visits.bursts.pop,
            lambda: _warm_up(self.workload, self.clock),
        )
        if self.visits.stop_reason is None:
            return True
        self._again = not self.timed_again and self._work is not None and self._is_suspect(self._work)
        return self._again

    def _begin_again(self) -> None:
        self.timed_again, self._again = True, False
        remeasured_ceilings(self.case.device, self.case.operands, self.case.cache)
        self.visits.bursts.clear()
        self.watch.forget()

    def _floor(self, cost: Cost) -> float:
        ceilings = measured_ceilings(self.case.device, self.case.operands, self.case.cache)
        return ceilings.least_seconds(cost.flops_minimal, cost.bytes_minimal)

    def _is_suspect(self, cost: Cost) -> bool:
        return self.visits.median < SUSPECT * self._floor(cost)

    def record(self) -> Record:
        """Return times, memory, energy, work, and where the time stands under the roofline."""
        median, interval = self.visits.median, self.visits.interval
        low, high = interval if interval is not None else (None, None)
        record: Record = {
            "status": "ok",
            **({"reason": self.watch.remark} if self.watch.remark else {}),
            "implementation": self.workload.implementation,
            "rel_error": self.gate.error,
            "error_gate": self.gate.limit,
            "time_median_s": median,
            "time_ci_low_s": low,
            "time_ci_high_s": high,
            "visits": len(self.visits.bursts),
            "samples": self.visits.samples,
            "throttled_visits": self.watch.throttled,
            "visit_medians_s": self.visit_medians,
            "stop_reason": self.visits.stop_reason,
            "compile_s": self.compile_s,
            "warmup_s": self.warmup_s,
            "launch_hidden": self.clock.launch_hidden,
            "peak_memory_bytes": self.memory.allocator_bytes,
            "peak_rss_bytes": self.memory.rss_bytes,
            "energy_j": self.energy_j,
            **self.watch.columns(),
        }
        cost = self._work
        if cost is not None:
            ceilings = measured_ceilings(self.case.device, self.case.operands, self.case.cache)
            record |= {
                "flops_algorithm": cost.flops_algorithm,
                "flops_minimal": cost.flops_minimal,
                "bytes_minimal": cost.bytes_minimal,
                "ceiling_flops_per_s": ceilings.flops_per_s,
                "ceiling_bytes_per_s": ceilings.bytes_per_s,
                "percent_of_limit": 100 * self._floor(cost) / median,
                "suspect": self._is_suspect(cost),
            }
        return record


def _judge(case: CostCase, outputs: list[torch.Tensor], workload: Workload) -> Gate:
    exact = build(case, dtype=torch.float64, implementation="reference", given=workload.state)
    reference = [tensor.double() for tensor in exact.once()]
    scaled = [output.to(case.device, torch.float64) * workload.scale for output in outputs]
    plain_error = None
    if case.phase == "step":
        plain_error = _error_of_sgd(case)
    elif workload.implementation.startswith("triton") or (case.operator, workload.implementation) in contestants():
        plain = build(case, dtype=case.operands, implementation="reference", given=workload.state)
        plain_error = relative_error(plain.once(), reference)
    limit = error_gate(
        terms=exact.terms,
        dtype=torch.promote_types(case.operands, torch.float32),
        rounding=operand_rounding(case.torch_dtype, case.precision, case.device),
        condition=exact.condition(),
        plain_error=plain_error,
    )
    row_error = worst_row_error(scaled, reference)
    if row_error > ROW_FACTOR * limit and exact.magnitudes is not None:
        # A row in which sums have cancelled keeps the rounding of their terms.
        row_error = worst_row_error(scaled, reference, exact.magnitudes())
    return Gate(relative_error(scaled, reference), row_error, limit)


def _error_of_sgd(case: CostCase) -> float:
    """Return by how much the gradients of the network alone differ from those in float64.

    In lower precision a network's maxima fall elsewhere now and then, and no sum's length tells by how much.
    """
    passes = replace(case, approximation=SGD, phase="step", clip=None)
    low, exact = (
        [tensor.double() for tensor in build(passes, dtype=dtype, implementation="reference").once()]
        for dtype in (case.operands, torch.float64)
    )
    return relative_error(low, exact)


def _timed(run: Callable[[], list[torch.Tensor]], clock: Clock) -> tuple[float, list[torch.Tensor]]:
    """Run once, by the wall clock; return seconds and the results."""
    start = time.perf_counter()
    outputs = run()
    clock.synchronize()
    return time.perf_counter() - start, outputs


def _energy(workload: Workload, telemetry: Telemetry, clock: Clock) -> float | None:
    """Measure the joules of one call; a sample of several kinds of call is weighted as its time is."""
    joules = 0.0
    for weight, run in workload.parts:
        measured = joules_per_call(run, telemetry, clock.synchronize)
        if measured is None:
            return None
        joules += weight * measured
    return joules


def _warm_up(workload: Workload, clock: Clock) -> float:
    """Take samples and throw them away; return how long that took, in seconds."""
    start = time.perf_counter()
    samples = 0
    while True:
        workload.sample(clock)
        samples += 1
        elapsed = time.perf_counter() - start
        if elapsed >= LONGEST_WARMUP_S or (elapsed >= WARMUP_S and samples >= WARMUP_SAMPLES):
            return elapsed


def open_case(case: CostCase) -> CostMeasurement | Declined:
    """Prepare a case: predict, run once, check, measure memory, warm up.

    Args:
        case: The case.

    Returns:
        A measurement that can be visited, or one that has ended as ``unsupported`` or ``wrong``.

    Raises:
        UnsupportedError: An implementation declines the case, or the device's clock does.
    """
    if case.device == "cpu" and case.cache == "cold":
        raise UnsupportedError("the caches of a CPU are never cold: its clock repeats short calls within a sample")
    set_precision(case.precision)
    declined = infeasible(case)
    if declined is not None:
        return Declined(declined)
    if work(case) is not None:
        # Now, as long as the memory is free.
        measured_ceilings(case.device, case.operands, case.cache)
    workload = build(case, dtype=case.operands, implementation=case.implementation)
    clock = clock_for(case.device, case.cache, held=not workload.with_host)
    first_call, outputs = _timed(workload.once, clock)
    gate = _judge(case, outputs, workload)
    if not gate.passed:
        reason = (
            f"error {gate.error:.1e} against float64 (worst row {gate.row_error:.1e}), "
            f"but {gate.limit:.1e} (row {ROW_FACTOR * gate.limit:.1e}) is the most for this sum and precision"
        )
        return Declined({"status": "wrong", "reason": reason, "rel_error": gate.error, "error_gate": gate.limit})
    del outputs
    compile_s = None
    # Phases and steps have run while they were built, to have a state to start from.
    if case.operator and (case.device == "cuda" or workload.implementation.startswith("triton")):
        compile_s = max(0.0, first_call - _timed(workload.once, clock)[0])
    memory, _ = peak_memory(workload.once, case.device)
    warmup_s = _warm_up(workload, clock)
    watch = Watch(telemetry_for(case.device), TIMEOUT_SHARE * case.timeout_s)
    # Before the visits of any case: a second's load heats the device for whatever is visited next.
    energy_j = _energy(workload, watch.telemetry, clock) if case.energy else None
    return CostMeasurement(case, workload, gate, compile_s, warmup_s, memory, clock, watch, energy_j)


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
