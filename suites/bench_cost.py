"""The cost cases of bench.toml as benchmarks of pytest: gate first, then visits, each of which is a round."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from kfc_bench.experiments.cost import COST
from kfc_bench.experiments.cost.case import CostCase
from kfc_bench.experiments.cost.measurement import CostMeasurement
from kfc_bench.measure.environment import environment
from kfc_bench.measure.rounds import Round, VisitTimer
from kfc_bench.results.benchmarks import extra_info
from kfc_bench.runner.suite import suites_by_device

SUITES = suites_by_device(Path(__file__).with_name("bench.toml"))
TIMER = VisitTimer()
ENVIRONMENT = cache(environment)
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")


def name_of(case: CostCase) -> str:
    return f"{case.device}, {case.label}, {case.dtype}, {case.precision}, {case.cache}"


CASES = {
    name_of(case): case
    for suite in SUITES.values()
    for section in suite.sections
    for case in cast("list[CostCase]", section.plan.due({}))
}


def opened(case: CostCase) -> CostMeasurement:
    """Prepare a case; one that is unsupported skips its test, one that fails its gate fails it."""
    try:
        measurement = COST.open(case)
    except Exception as error:
        status, reason = COST.classify(error)
        if status == "unsupported":
            pytest.skip(reason)
        raise
    if not isinstance(measurement, CostMeasurement):
        record = measurement.record()
        if record["status"] == "unsupported":
            pytest.skip(record["reason"])
        pytest.fail(f"{record['status']}: {record['reason']}", pytrace=False)
    return measurement


@pytest.mark.benchmark(timer=TIMER)
@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used at all")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, id=name, marks=[NO_CUDA] if case.device == "cuda" else []) for name, case in CASES.items()],
)
def test_cost(request: pytest.FixtureRequest, benchmark: Any, name: str) -> None:
    case = CASES[name]
    measurement = opened(case)
    rule = measurement.visits.rule
    longest = float(request.config.getoption("benchmark_max_time"))
    measurement.visits.rule = replace(rule, seconds=min(rule.seconds, longest))
    while measurement.visit() and (benchmark.enabled or not measurement.visits.bursts):
        pass
    medians = measurement.visits.medians
    benchmark.pedantic(Round(TIMER, medians), rounds=len(medians), iterations=1)
    record = {"case_id": case.case_id, "experiment": case.experiment, **case.columns(), **measurement.record()}
    benchmark.extra_info.update(extra_info(record, ENVIRONMENT(case.device)))
