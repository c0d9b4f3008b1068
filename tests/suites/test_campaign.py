"""The GPU campaign, rehearsed end to end on a CPU without anything that only the extras install."""

import json
import os
import re
import subprocess
import sys

import pytest

from kfc_bench.resources import share
from kfc_bench.results.run import ENVIRONMENT, JOURNAL
from kfc_bench.results.session import SESSION
from kfc_bench.runner.suite import load_suite
from kfc_kernels.catalogue import OPERATORS
from tests.helpers import command, sources

SUITE = share("suites") / "campaign.toml"
BLOCKED = (
    "streamlit",
    "altair",
    "sklearn",
    "matplotlib",
    "asdl",
    "backpack",
    "curvlinops",
    "kronfluence",
    "nngeometry",
)
BLOCKER = f"""
from importlib.machinery import PathFinder

found = PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.split(".")[0] in {BLOCKED} else found(name, path, target)

PathFinder.find_spec = staticmethod(find_spec)
"""
"""As if they were not installed, for the run and its workers."""

SHRUNK = [
    (r"(?m)^batch = (?!64$).+$", "batch = 2"),
    (r"(?m)^seconds = .+$", "seconds = 0.01"),
    (r"(?m)^(least|most)_visits = (.+)$", lambda found: f"{found[1]}_visits = {6 if found[2] == '6' else 12}"),
    (r'"tf32", ', ""),
    (r"(?m)^energy = true$", "energy = false"),
    (r"_channels = (32|64|128|256|512)\b", lambda found: f"_channels = {int(found[1]) // 32}"),
    (r"size = (56|28)\b", "size = 8"),
    (r"(?m)^epochs = .+$", "epochs = 0.7"),
    (r'"resnet18"', '"digits"'),
    (r"(?m)^seeds = .+$", "seeds = [1]"),
    (r"(?m)^time_limit_s = .+$", ""),
]
LIMIT = 16 * 2**20


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rehearsal")
    text = SUITE.read_text()
    for pattern, replacement in SHRUNK:
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    (folder / "campaign.toml").write_text(text)
    (folder / "blocked").mkdir()
    (folder / "blocked" / "sitecustomize.py").write_text(BLOCKER)
    done = subprocess.run(
        command("run", "campaign.toml", "--device", "cpu", "--results", "out", "--no-csv"),
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder / "blocked"), str(sources())]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def records(rehearsal):
    (journal,) = rehearsal.glob(f"out/*/{JOURNAL}")
    return [json.loads(line) for line in journal.read_text().splitlines()]


@pytest.fixture(scope="module")
def report(rehearsal):
    return (rehearsal / "out" / "report.md").read_text()


def sections():
    return [section.name for section in load_suite(SUITE, "cpu").sections]


def test_the_blocker_blocks(rehearsal):
    environment = {**os.environ, "PYTHONPATH": str(rehearsal / "blocked")}
    done = subprocess.run([sys.executable, "-c", "import altair"], env=environment, capture_output=True, text=True)
    assert "No module named 'altair'" in done.stderr


def test_it_leaves_few_and_small_files(rehearsal):
    files = [path for path in (rehearsal / "out").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == [ENVIRONMENT, JOURNAL, "report.md", SESSION]
    assert max(path.stat().st_size for path in files) < LIMIT


def test_every_section_has_records_headline_first(records):
    assert list(dict.fromkeys(record["section"] for record in records)) == sections()
    assert sections()[:2] == ["correctness", "input factor"]


def test_all_that_can_run_here_runs_and_is_right(records):
    assert {record["status"] for record in records} == {"ok", "unsupported"}
    for record in records:
        if record["status"] == "unsupported":
            words = ("needs a CUDA device", "is not installed", "bfloat16", "half", "takes", "predicted to")
            assert any(word in record["reason"] for word in words), record["reason"]
    ran = {record.get("operator") for record in records if record["status"] == "ok"}
    assert ran == {record.get("operator") for record in records}
    assert {record.get("approximation") for record in records if record.get("phase") == "step"} == {
        "sgd",
        "kfc",
        "diagonal",
    }


def test_every_kernel_is_checked(records):
    checked = {
        (record["operator"], record["implementation"])
        for record in records
        if record["section"].startswith("correctness")
    }
    asked = {
        (case.operator, case.implementation)
        for section in load_suite(SUITE, "cpu").sections
        if section.name.startswith("correctness")
        for case in section.plan.due({})
    }
    assert {entry for entry in asked if entry[1] != "auto"} <= checked
    kernels = {(name, entry.name) for name, operator in OPERATORS.items() for entry in operator.table}
    assert {(name, entry) for name, entry in kernels if entry.startswith("triton")} <= asked
    assert {name for name, _ in kernels} == {name for name, _ in asked}


def test_the_report_says_what_was_run_where_and_what_came_of_it(report):
    for name in sections():
        assert f"| {name} |" in report
    assert "# KFC Bench: campaign" in report
    assert "Measured on **CPU, no GPU: " in report
    for heading in (
        "## What was run",
        "## How to read it",
        "## Correctness on this device",
        "## Operators",
        "## Training: the cost of a step, and what it gains",
        "## Phases of each approximation",
        "## How large a layer can be",
        "## What did not run, and why",
        "## Environment",
        "## How to reproduce it",
    ):
        assert heading in report
    assert "docs/method.md" in report
    assert "kfc-bench run campaign.toml --device cpu --no-csv" in report


def test_the_report_s_numbers_are_those_of_the_records(report, records):
    counts = {status: sum(record["status"] == status for record in records) for status in ("ok", "unsupported")}
    assert f"{counts['ok']} ok, {counts['unsupported']} unsupported" in report
    assert "unfold_matmul (plain formula)" in report
    assert "No other library was measured" in report
    assert "needs a CUDA device" in report
    for title in ("input_factor: time of a call", "diagonal_fisher: time of a call", "precondition: time of a call"):
        assert title in report
    assert "exact_fisher: time of a call" not in report
    assert "## What is missing" not in report


def test_nothing_of_this_machine_s_folders_is_kept(rehearsal, report):
    kept = [report, *(path.read_text() for path in (rehearsal / "out").glob("*/*.json*"))]
    assert not any(str(rehearsal) in text for text in kept)
