"""One inverse case under way: its errors first, then visits, then the record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kfc_bench.experiments.inverse.case import InverseCase
from kfc_bench.measure.clock import Clock, clock_for
from kfc_bench.measure.precision import set_precision
from kfc_bench.measure.visits import Visits
from kfc_bench.results.schema import Record
from kfc_kernels import damped_inverse
from kfc_kernels.damped_inverse import DampedInverses

WARM_UP_CALLS = 2


@dataclass
class InverseMeasurement:
    """A case that can be visited.

    Attributes:
        run: Inverts the matrix once.
        errors: The record's columns on how exact the inverse is.
        clock: Times a call.
        visits: What was measured so far.
    """

    run: Callable[[], object]
    errors: Record
    clock: Clock
    visits: Visits

    @property
    def visit_medians(self) -> list[float]:
        """Each visit's median so far, in seconds."""
        return self.visits.medians

    def visit(self) -> bool:
        """Take one burst of samples; return whether more are wanted."""
        self.visits.visit(self.clock, lambda clock: clock.sample(self.run))
        return self.visits.stop_reason is None

    def record(self) -> Record:
        """Return errors and times."""
        low, high = self.visits.interval or (None, None)
        return {
            "status": "ok",
            **self.errors,
            "time_median_s": self.visits.median,
            "time_ci_low_s": low,
            "time_ci_high_s": high,
            "visits": len(self.visits.bursts),
            "samples": self.visits.samples,
            "stop_reason": self.visits.stop_reason,
            "launch_hidden": self.clock.launch_hidden,
        }


def inverse_errors(damped: Tensor, inverse: Tensor) -> Record:
    """Hold an inverse to the damped matrix that it was asked of.

    Args:
        damped: M + s I in float64, of the rounded numbers that were handed over.
        inverse: In any dtype.

    Returns:
        ``residual`` (``||I - A X||_F / sqrt(n)``) and ``rel_error`` (Frobenius, against float64).
    """
    exact = torch.linalg.inv(damped)
    product = damped @ inverse.double()
    identity = torch.eye(len(damped), dtype=damped.dtype, device=damped.device)
    return {
        "residual": float(torch.linalg.matrix_norm(identity - product)) / math.sqrt(len(damped)),
        "rel_error": float(torch.linalg.matrix_norm(inverse.double() - exact) / torch.linalg.matrix_norm(exact)),
    }


def open_case(case: InverseCase) -> InverseMeasurement:
    """Prepare a case: make the matrix, invert it once, hold the result to float64.

    Nothing is refused for being inexact: that is what is measured.

    Args:
        case: The case.

    Returns:
        A measurement that can be visited.
    """
    set_precision("ieee")
    problem = case.problem()
    previous = [problem.previous] if case.start == "warm" and problem.previous is not None else None

    def run() -> DampedInverses:
        return damped_inverse([problem.matrix], [problem.shift], previous=previous, implementation=case.implementation)

    found = run()
    identity = torch.eye(len(problem.matrix), dtype=torch.float64, device=case.device)
    errors = inverse_errors(problem.matrix.double() + problem.shift.double() * identity, found.inverses[0])
    iterations = int(found.iterations[0]) if case.start is not None else None
    for _ in range(WARM_UP_CALLS):
        run()
    return InverseMeasurement(
        run,
        {**errors, "condition": problem.condition, "iterations": iterations, "raised": found.raised},
        clock_for(case.device),
        Visits(case.rule),
    )
