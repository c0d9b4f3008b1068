"""`pytest --benchmark`, as a user's pipeline would call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kfc_bench.experiments.cost.case import CostCase
from kfc_bench.measure.rounds import Round, VisitTimer
from kfc_bench.resources import share
from kfc_bench.results.fingerprint import FINGERPRINT
from kfc_bench.results.frames import load_results
from kfc_bench.runner.suite import load_suite, suites_by_device
from tests.helpers import cli_here

ROOT = Path(__file__).parents[2]
QUICKEST = "cpu and kfc and precondition"


def own_environment() -> dict[str, str]:
    """What a user's shell would hand on: nothing of the pytest around, nor its one thread."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "OMP_"))}


def run_pytest(
    *arguments: str, planted: str | None = None, threads: int | None = 1
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", *arguments]
    environment = own_environment()
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    if planted:
        command += ["-p", "tests.suites.planted"]
        environment["PLANTED"] = planted
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)


def last_line(answer: subprocess.CompletedProcess[str]) -> str:
    return answer.stdout.splitlines()[-1].strip("= ")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What ``pytest --benchmark`` says and saves."""
    file = tmp_path_factory.mktemp("saved") / "benchmark.json"
    answer = run_pytest("--benchmark", "-rs", f"--benchmark-json={file}")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer, file


def test_cpu_cases_run_and_without_a_gpu_cuda_cases_are_skipped_with_a_reason(saved):
    answer, file = saved
    devices = [benchmark["extra_info"]["device"] for benchmark in json.loads(file.read_text())["benchmarks"]]
    assert devices.count("cpu") == 8
    assert "warning" not in last_line(answer)
    if not torch.cuda.is_available():
        assert last_line(answer).startswith("8 passed, 8 skipped in")
        assert "torch sees no CUDA device here" in answer.stdout


def test_what_is_saved_holds_the_record_and_where_it_was_measured(saved):
    content = json.loads(saved[1].read_text())
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    assert content["machine_info"]["device_kind"] == kind
    assert {"device", "gpu", "driver"} <= set(content["machine_info"])
    for benchmark in content["benchmarks"]:
        extra, stats = benchmark["extra_info"], benchmark["stats"]
        assert benchmark["params"]["name"].startswith(f"{extra['device']}, ")
        assert extra["rel_error"] <= extra["error_gate"]
        assert (extra["status"], extra["experiment"]) == ("ok", "cost")
        assert {"implementation", "case_id", "batch", "precision", "samples", "peak_memory_bytes"} <= set(extra)
        assert ("percent_of_limit" in extra) == ("flops_minimal" in extra) == (extra.get("phase") != "step")
        assert set(FINGERPRINT) <= set(extra["environment"])
        assert 12 <= stats["rounds"] == len(stats["data"]) <= 40
        assert extra["stop_reason"] in ("half_width", "seconds", "visits")
        assert extra["time_ci_low_s"] <= stats["median"] <= extra["time_ci_high_s"]
        assert not {"time_median_s", "visits", "visit_medians_s"} & set(extra)


def test_import_brings_it_into_results(saved, tmp_path):
    done = cli_here("import", saved[1], "--results", "results", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    frames = load_results([tmp_path / "results"])
    cost = frames.cost[frames.cost["device"] == "cpu"].set_index("case_id")
    assert set(cost["status"]) == {"ok"}
    for benchmark in json.loads(saved[1].read_text())["benchmarks"]:
        if benchmark["extra_info"]["device"] == "cpu":
            assert cost.loc[benchmark["extra_info"]["case_id"], "time_median_s"] == benchmark["stats"]["median"]
    for command in ("summary", "export"):
        assert cli_here(command, "results", cwd=tmp_path).returncode == 0


def test_a_slowdown_fails_the_comparison_and_is_named(tmp_path):
    def benchmark(planted, *arguments):
        cases = "cpu and kfc and not step"
        return run_pytest("--benchmark", "-k", cases, f"--benchmark-storage={tmp_path}", *arguments, planted=planted)

    compare = ["--benchmark-compare", "--benchmark-compare-fail=median:10%"]
    before = benchmark("steady", "--benchmark-save=before")
    assert before.returncode == 0, before.stdout + before.stderr
    same = benchmark("steady", *compare)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "warning" not in (same.stdout + same.stderr).lower()
    slower = benchmark("slower", *compare)
    assert slower.returncode != 0
    regressed = [line for line in slower.stderr.splitlines() if "PercentageRegressionCheck" in line]
    assert len(regressed) == 1
    assert "cpu, kfc precondition, cifar10.conv1, batch 16" in regressed[0]


@pytest.mark.parametrize(
    ("planted", "code", "outcome", "reason"),
    [
        ("wrong", 1, "1 failed", "wrong: error"),
        ("unsupported", 0, "1 skipped", "it takes no such geometry"),
    ],
)
def test_a_case_that_is_not_timed_says_why(planted, code, outcome, reason):
    answer = run_pytest("--benchmark", "-rs", "-k", QUICKEST, planted=planted)
    assert answer.returncode == code
    assert last_line(answer).startswith(f"{outcome}, 15 deselected in")
    assert reason in answer.stdout


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """What is saved of one case that is given 0.2 s, and as many threads as torch likes."""
    file = tmp_path_factory.mktemp("short") / "benchmark.json"
    arguments = ["--benchmark", "-k", QUICKEST, f"--benchmark-json={file}", "--benchmark-max-time=0.2"]
    answer = run_pytest(*arguments, planted="uneven", threads=None)
    assert answer.returncode == 0, answer.stdout
    (benchmark,) = json.loads(file.read_text())["benchmarks"]
    return benchmark


def test_the_time_that_pytest_benchmark_is_given_ends_a_case(short):
    assert short["extra_info"]["stop_reason"] == "seconds"
    *before, last = short["stats"]["data"]
    assert sum(before) < 0.2 <= sum(before) + last


def test_a_case_takes_every_core(short):
    command = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    alone = subprocess.run(command, env=own_environment(), capture_output=True, text=True)
    assert short["extra_info"]["environment"]["threads"] == int(alone.stdout)


def test_disabled_each_case_is_run_once(tmp_path):
    file = tmp_path / "benchmark.json"
    answer = run_pytest("--benchmark", "--benchmark-disable", "-k", QUICKEST, f"--benchmark-json={file}")
    assert answer.returncode == 0, answer.stdout
    assert last_line(answer).startswith("1 passed, 15 deselected in")
    assert not file.exists()


def test_without_pytest_benchmark_s_plugin_the_option_is_known_all_the_same():
    answer = run_pytest("-p", "no:benchmark", "--collect-only", "-q", "tests/test_architecture.py")
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_a_plain_pytest_leaves_the_suites_alone():
    answer = run_pytest("--collect-only", "-q", "suites")
    assert answer.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert last_line(answer).startswith("no tests collected")


def test_a_path_is_kept_when_the_option_is_given(tmp_path):
    (tmp_path / "bench_mine.py").write_text("def test_mine():\n    pass\n")
    answer = run_pytest("--benchmark", "--collect-only", "-q", str(tmp_path))
    assert "bench_mine.py" in answer.stdout
    assert "bench_cost" not in answer.stdout


def test_the_bench_suite_has_eight_cases_on_each_device():
    suites = suites_by_device(share("suites") / "bench.toml")
    cases = {name: [case for part in suite.sections for case in part.plan.due({})] for name, suite in suites.items()}
    assert {name: len(own) for name, own in cases.items()} == {"cpu": 8, "cuda": 8}
    assert all(isinstance(case, CostCase) and case.device == name for name, own in cases.items() for case in own)


@pytest.mark.parametrize("name", ["quickstart", "layers", "kernels", "campaign"])
def test_shipped_suites_are_valid(name):
    suite = load_suite(share("suites") / f"{name}.toml", "cpu")
    assert all(section.plan.total >= len(section.plan.due({})) > 0 for section in suite.sections)


def test_a_round_lasts_as_long_as_its_visit():
    timer = VisitTimer()
    one_round = Round(timer, [0.25, 0.5])
    one_round()
    assert timer() == 0.25
    one_round()
    assert timer() == 0.75
