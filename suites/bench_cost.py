"""The cost cases of bench.toml as benchmarks of pytest: gate first, then device time as rounds."""

from __future__ import annotations

from typing import Any

import pytest

from kfc_bench.experiments.base import Case
from kfc_bench.experiments.cost.case import CostCase
from kfc_bench.experiments.cost.measurement import CostMeasurement, open_case
from kfc_bench.measure.environment import environment
from kfc_bench.measure.rounds import Round, SampleTimer
from kfc_bench.runner.suite import find_suite, load_suite

SUITE = load_suite(find_suite("bench"), None)
CASES: list[Case] = [case for section in SUITE.sections for case in section.plan.due({})]
TIMER = SampleTimer()
ROUNDS = 12


@pytest.mark.benchmark(timer=TIMER)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_cost(benchmark: Any, case: CostCase) -> None:
    measurement = open_case(case)
    if not isinstance(measurement, CostMeasurement):
        record = measurement.record()
        if record["status"] == "unsupported":
            pytest.skip(record["reason"])
        pytest.fail(f"{record['status']}: {record['reason']}")
    benchmark.extra_info.update(
        {name: value for name, value in case.columns().items() if value is not None},
        implementation=measurement.workload.implementation,
        rel_error=measurement.gate.error,
        error_gate=measurement.gate.limit,
        peak_memory_bytes=measurement.memory.allocator_bytes,
        environment=environment(case.device),
    )
    benchmark.pedantic(Round(TIMER, measurement.clock, measurement.workload), rounds=ROUNDS, iterations=1)
