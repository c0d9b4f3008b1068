"""The workflows of docs/ci, step by step: with real sessions once, and with a fake command for what surrounds it."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from kfc_bench.cli import app
from tests.ci.stand_in import USES, StandIn
from tests.helpers import sources

ROOT = Path(__file__).parents[2]
GPU, CPU = (ROOT / "docs" / "ci" / f"{name}.yml" for name in ("gpu", "cpu"))
OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

INSTALL = """
mkdir -p "$RUNNER_TEMP/venv/bin"
cat > "$RUNNER_TEMP/venv/bin/kfc-bench" << 'END'
{command}
END
chmod +x "$RUNNER_TEMP/venv/bin/kfc-bench"
echo "$RUNNER_TEMP/venv/bin" >> "$GITHUB_PATH"
"""
"""Nothing is downloaded in a test: the command is what is being tested, or a fake."""

REAL = f'#!/bin/sh\nexec "{sys.executable}" -m kfc_bench.cli "$@"'
FAKE = """#!/bin/sh
echo "$@" > "$HOME/called"
mkdir -p regression "$HOME/kfc-bench-baselines"
printf '<!-- kfc-bench regression: it -->\\nnumber %s\\n' "$FAKE_NUMBER" > regression/comment.md
exit "$FAKE_CODE"
"""

WIDGETS = """
def polish(count):
    return sum(each * each % 7 for each in range(count))


def sort(count):
    return sorted(range(count), key=lambda each: -each)
"""
BENCHES = """
import widgets


def test_polish(benchmark):
    assert benchmark(widgets.polish, 1000) == 2001


def test_sort(benchmark):
    assert benchmark(widgets.sort, 1000)[0] == 999
"""
SLOW = WIDGETS.replace("return sum(", "[sum(each % 7 for each in range(count)) for _ in range(4)]\n    return sum(")


class Project:
    """Someone's repository, with a pull request."""

    def __init__(self, top):
        self.top = top
        (top / "benchmarks").mkdir(parents=True)
        (top / "benchmarks" / "bench_widgets.py").write_text(BENCHES)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("the widgets", WIDGETS)
        self.git("checkout", "--quiet", "-b", "change")

    def git(self, *arguments):
        identity = ["-c", "user.name=tests", "-c", "user.email=tests@example.invalid"]
        done = subprocess.run(["git", *identity, *arguments], cwd=self.top, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message, widgets):
        (self.top / "widgets.py").write_text(widgets)
        (self.top / "NEWS").write_text(message)
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", message)

    def merged(self):
        """Return the merge that GitHub makes of a pull request to test it."""
        self.git("checkout", "--quiet", "--detach", "main")
        self.git("merge", "--quiet", "--no-ff", "-m", "the merge", "change")
        commit = self.git("rev-parse", "HEAD")
        self.git("checkout", "--quiet", "change")
        return commit


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


def pull_request(repository="someone/project"):
    return {"pull_request": {"number": 1, "head": {"repo": {"full_name": repository}}}}


def stand_in(tmp_path, project, **more):
    environment = {
        "PYTHONPATH": str(sources()),
        "OMP_NUM_THREADS": "1",
        "PYTEST_ADDOPTS": "-p no:anyio -p no:hypothesispytest",  # plugins that take a second to import
        **more,
    }
    return StandIn(tmp_path / "runner", project.top, environment)


def run(runner, workflow, commit, *, event="pull_request", payload=None, command=FAKE, settings=None):
    return runner.run(
        workflow,
        event,
        pull_request() if payload is None else payload,
        commit,
        settings=settings or {},
        replaced={"Install": INSTALL.format(command=command)},
    )


def how(runner):
    return {step.name: step.how for step in runner.steps}


def said(runner):
    return "\n".join(f"--- {step.name}: {step.how}, {step.code}\n{step.said}" for step in runner.steps)


def test_a_planted_slowdown_fails_and_is_named_and_its_repair_passes(tmp_path, project):
    runner = stand_in(tmp_path, project)
    quick = {"OPTIONS": "--fail-on slower:5% --sessions 7 --seconds 0.02"}
    project.commit("slower", SLOW)
    assert run(runner, GPU, project.merged(), command=REAL, settings=quick) == "failure", said(runner)
    assert [step.name for step in runner.steps if step.code] == ["Compare"], said(runner)
    (comment,) = runner.comments
    first_line = comment["body"].splitlines()[1]
    assert re.search(
        r"GPU benchmarks: 1 of 2 benchmarks fails the policy slower:5%:.*::test_polish` [\d.]+x SLOWER", first_line
    )
    before_the_fold = comment["body"].partition("<details>")[0]
    assert "second run" in before_the_fold
    assert "test_sort" not in before_the_fold
    artifact = runner.home / "artifacts" / "benchmarks-gpu"
    rows = {row["benchmark"]: row for row in csv.DictReader((artifact / "comparison.csv").read_text().splitlines())}
    assert rows["benchmarks/bench_widgets.py::test_polish"]["verdict"] == "SLOWER"
    assert rows["benchmarks/bench_widgets.py::test_sort"]["verdict"] != "SLOWER"
    assert (
        len(list((artifact / "sessions").glob("first-*.json")))
        == len(list((artifact / "sessions").glob("second-*.json")))
        == 14
    )
    assert (runner.temp / "GITHUB_STEP_SUMMARY").read_text() == comment["body"]

    project.commit("as fast as before", WIDGETS)
    assert run(runner, GPU, project.merged(), command=REAL, settings=quick) == "success", said(runner)
    (again,) = runner.comments
    assert again["id"] == comment["id"]
    assert "no benchmark fails the policy" in again["body"]


def test_the_comment_is_made_once_and_then_replaced(tmp_path, project):
    project.commit("news", WIDGETS)
    commit = project.merged()
    for number, code in (("1", "1"), ("2", "0")):
        runner = stand_in(tmp_path, project, FAKE_NUMBER=number, FAKE_CODE=code)
        assert run(runner, CPU, commit) == ("success" if code == "0" else "failure")
        (comment,) = runner.comments
        assert comment["body"].splitlines()[1] == f"number {number}"
    assert [method for method, _ in runner.calls] == ["GET", "POST", "GET", "PATCH"]


def test_on_main_the_medians_are_kept_and_nothing_is_commented(tmp_path, project):
    runner = stand_in(tmp_path, project, FAKE_NUMBER="1", FAKE_CODE="0")
    assert run(runner, CPU, "main", event="push", payload={"ref": "refs/heads/main"}) == "success"
    assert how(runner)["Comment"] == "skipped"
    assert how(runner)["actions/cache/save@v4"] == "emulated"
    words = (runner.home / "called").read_text().split()
    assert words[:4] == ["regression", "HEAD^1", "HEAD", "benchmarks"]
    assert "--keep" in words
    assert (runner.home / "caches" / "kfc-bench-baselines-7").is_dir()


@pytest.mark.parametrize("workflow", [GPU, CPU], ids=["gpu", "cpu"])
def test_what_goes_to_pytest_stays_last(tmp_path, project, workflow):
    runner = stand_in(tmp_path, project, FAKE_NUMBER="1", FAKE_CODE="0")
    options = {"OPTIONS": "--fail-on slower:5% -- -k conv"}
    assert run(runner, workflow, "main", event="push", payload={}, settings=options) == "success"
    words = (runner.home / "called").read_text().split()
    assert words[-5:] == ["--fail-on", "slower:5%", "--", "-k", "conv"]
    assert {"--baselines", "--keep"} <= set(words[:-5])
    assert run(runner, workflow, "main", settings=options) == "success"
    assert "--keep" not in (runner.home / "called").read_text()


@pytest.mark.parametrize("workflow", [GPU, CPU], ids=["gpu", "cpu"])
def test_a_push_of_several_commits_is_judged_as_a_whole(tmp_path, project, workflow):
    before = project.git("rev-parse", "main")
    for message in ("one", "two"):
        project.commit(message, WIDGETS)
    commit = project.git("rev-parse", "HEAD")
    runner = stand_in(tmp_path, project, FAKE_NUMBER="1", FAKE_CODE="0")
    for told, base in ((before, before), ("0" * 40, "HEAD^1"), ("c0ffee" * 6 + "cafe", "HEAD^1")):
        assert run(runner, workflow, commit, event="push", payload={"before": told}) == "success"
        assert (runner.home / "called").read_text().split()[1:3] == [base, "HEAD"]
    assert run(runner, workflow, commit, payload=pull_request() | {"before": before}) == "success"
    assert (runner.home / "called").read_text().split()[1:3] == ["HEAD^1", "HEAD"]


@pytest.mark.parametrize("workflow", [GPU, CPU], ids=["gpu", "cpu"])
def test_checkouts_lie_where_the_runner_clears_up_and_hold_no_token(tmp_path, project, workflow):
    runner = stand_in(tmp_path, project, FAKE_NUMBER="1", FAKE_CODE="0")
    command = FAKE.replace('echo "$@"', 'echo "$TMPDIR"')
    assert run(runner, workflow, "main", command=command) == "success"
    assert (runner.home / "called").read_text().strip() == str(runner.temp)
    (checkout,) = (step for step in steps_of(workflow) if step.get("uses", "").startswith("actions/checkout@"))
    assert checkout["with"]["persist-credentials"] is False


def test_a_fork_s_unchanged_workflow_runs_on_no_machine_of_one_s_own_and_comments_nowhere(tmp_path, project):
    runner = stand_in(tmp_path, project, FAKE_NUMBER="1", FAKE_CODE="1")
    fork = pull_request("stranger/project")
    assert run(runner, GPU, "main", payload=fork) == "skipped"
    assert run(runner, CPU, "main", payload=fork) == "failure"
    assert how(runner)["Comment"] == how(runner)["actions/cache/save@v4"] == "skipped"
    assert (runner.temp / "GITHUB_STEP_SUMMARY").read_text().splitlines()[1] == "number 1"
    assert "--keep" not in (runner.home / "called").read_text()
    assert (runner.home / "artifacts" / "benchmarks-cpu" / "comment.md").exists()
    assert runner.calls == []


def test_a_comment_that_may_not_be_written_fails_nothing(tmp_path, project):
    runner = stand_in(tmp_path, project, FAKE_NUMBER="1", FAKE_CODE="0")
    runner.state.write_text(runner.state.read_text().replace('"refuses": false', '"refuses": true'))
    assert run(runner, GPU, "main") == "success"
    assert next(step for step in runner.steps if step.name == "Comment").code != 0


def test_a_command_that_leaves_no_comment_fails_by_itself(tmp_path, project):
    runner = stand_in(tmp_path, project)
    assert run(runner, GPU, "main", command="#!/bin/sh\nexit 2") == "failure"
    assert [step.name for step in runner.steps if step.code] == ["Compare"]
    assert runner.comments == []


def test_our_own_workflow_asks_the_command_for_what_it_knows(tmp_path, project):
    runner = stand_in(tmp_path, project, FAKE_NUMBER="1", FAKE_CODE="1")
    installed = f"mkdir -p .venv/bin\ncat > .venv/bin/kfc-bench << 'END'\n{FAKE}\nEND\nchmod +x .venv/bin/kfc-bench\n"
    replaced = {"Kernels and clock on the device": installed, "Campaign": "true"}
    assert runner.run(OURS[0], "push", {}, "main", settings={}, replaced=replaced) == "failure"
    assert [step.name for step in runner.steps if step.code] == ["Benchmarks"]
    words = (runner.home / "called").read_text().split()
    options = {word for word in words if word.startswith("--") and word != "--"}
    known = CliRunner().invoke(app, ["regression", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert options
    assert all(option in known for option in options)
    assert (runner.home / "artifacts" / "benchmark" / "comment.md").exists()


def steps_of(workflow):
    return [step for job in yaml.safe_load(workflow.read_text())["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", [GPU, CPU, *OURS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_workflow_is_one(workflow):
    content = yaml.safe_load(workflow.read_text())
    assert {"name", "jobs", True} <= set(content) <= {"name", "jobs", True, "concurrency", "permissions", "env"}
    for job in content["jobs"].values():
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job)
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "run" in step:
                assert subprocess.run(["bash", "-n"], input=step["run"], text=True).returncode == 0
                assert "${{" not in step["run"], "a stranger's text would be run"


@pytest.mark.parametrize("workflow", [GPU, CPU], ids=["gpu", "cpu"])
def test_a_workflow_to_copy_asks_for_no_more_than_it_needs(workflow):
    content = yaml.safe_load(workflow.read_text())
    assert content["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert set(content[True]) == {"pull_request", "push"}, "pull_request_target would hand a fork a token"
    assert content["env"]["BENCHMARKS"] == "benchmarks"
    used = {step["uses"].partition("@")[0] for step in steps_of(workflow) if "uses" in step}
    assert used <= set(USES)
    installed = next(step["run"] for step in steps_of(workflow) if step.get("name") == "Install")
    assert all(re.search(r"pip|venv", line) for line in installed.strip().splitlines()), "what the tests replace"
