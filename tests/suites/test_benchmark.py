"""`pytest --benchmark`, as a user's pipeline would call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kfc_bench.experiments.cost.case import CostCase
from kfc_bench.measure.rounds import Round, SampleTimer
from kfc_bench.resources import share
from kfc_bench.runner.suite import load_suite

ROOT = Path(__file__).parents[2]


def run_pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)


def test_the_option_runs_the_suites_and_saves_what_a_reviewer_asks_for(tmp_path):
    file = tmp_path / "benchmark.json"
    answer = run_pytest("--benchmark", "-k", "kfc", "--benchmark-json", str(file))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    benchmarks = json.loads(file.read_text())["benchmarks"]
    assert len(benchmarks) == 3
    for benchmark in benchmarks:
        extra = benchmark["extra_info"]
        assert extra["rel_error"] <= extra["error_gate"]
        assert extra["implementation"] == "reference"
        assert extra["environment"]["torch"]
        assert benchmark["stats"]["rounds"] == 12
        assert benchmark["stats"]["min"] > 0


def test_a_plain_pytest_leaves_the_suites_alone():
    answer = run_pytest("--collect-only", "-q", "tests/suites")
    assert answer.returncode == 0
    assert "bench_cost" not in answer.stdout


def test_a_path_is_kept_when_the_option_is_given(tmp_path):
    (tmp_path / "bench_mine.py").write_text("def test_mine():\n    pass\n")
    answer = run_pytest("--benchmark", "--collect-only", "-q", str(tmp_path))
    assert "bench_mine.py" in answer.stdout
    assert "bench_cost" not in answer.stdout


def test_the_bench_suite_has_five_cases():
    suite = load_suite(share("suites") / "bench.toml", "cpu")
    cases = [case for section in suite.sections for case in section.plan.due({})]
    assert len(cases) == 5
    assert all(isinstance(case, CostCase) for case in cases)


@pytest.mark.parametrize("name", ["quickstart", "campaign"])
def test_shipped_suites_are_valid(name):
    suite = load_suite(share("suites") / f"{name}.toml", "cpu")
    assert all(section.plan.total >= len(section.plan.due({})) > 0 for section in suite.sections)


def test_a_round_lasts_as_long_as_its_sample():
    class Workload:
        def sample(self, clock: object) -> float:
            return 0.25 if clock == "a clock" else 0.0

    timer = SampleTimer()
    before = timer()
    Round(timer, "a clock", Workload())()
    assert timer() - before == 0.25
