"""``kfc-bench regression`` on a small repository: with a fake in the place of pytest, and interrupted for real."""

from __future__ import annotations

import csv
import json
import re
import shlex
import signal
import subprocess

import pytest
from typer.testing import CliRunner

from kfc_bench.cli import app
from kfc_bench.errors import UserError
from kfc_bench.results.bench_session import BenchSession
from kfc_bench.runner.sessions import Sessions
from tests.helpers import start_cli, wait_until

MACHINE = {
    "device_kind": "cuda",
    "device": "NVIDIA H100",
    "gpu": {"name": "NVIDIA H100"},
    "driver": "570",
    "torch": "2.13",
}
BENCH = "def test_it(benchmark):\n    benchmark(sum, range(100))\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository of two commits whose file `seconds` says what each takes."""
    top = tmp_path / "project"
    (top / "benchmarks").mkdir(parents=True)
    (top / "benchmarks" / "bench_it.py").write_text(BENCH)

    def git(*arguments):
        identity = ["-c", "user.name=tests", "-c", "user.email=tests@example.invalid"]
        subprocess.run(["git", *identity, *arguments], cwd=top, check=True, capture_output=True)

    git("init", "--quiet")
    for seconds in ("1.0", "1.5"):
        (top / "seconds").write_text(seconds)
        git("add", ".")
        git("commit", "--quiet", "-m", seconds)
    monkeypatch.chdir(top)
    return top


@pytest.fixture
def fake(monkeypatch):
    """Sessions that take what the file `seconds` of their checkout says; the calls that were made."""
    calls = []

    def run(self, side, label, tests=None):
        calls.append((self, side, label, tests))
        wobble = 1 + 0.002 * ((7 * len(calls)) % 5 - 2)
        test = "benchmarks/bench_it.py::test_it"
        return BenchSession(times={test: float((side.folder / "seconds").read_text()) * wobble}, machine=MACHINE)

    monkeypatch.setattr(Sessions, "run", run)
    return calls


def regression(*arguments):
    return CliRunner().invoke(app, ["regression", *map(str, arguments)])


def comment(top):
    return (top / "regression" / "comment.md").read_text()


@pytest.mark.usefixtures("fake")
def test_a_slowdown_exits_with_1_and_leaves_comment_and_table(project):
    done = regression("HEAD~1", "HEAD", "benchmarks")
    assert done.exit_code == 1
    assert "fails slower:5%: benchmarks/bench_it.py::test_it SLOWER" in done.stderr
    assert "1 of 1 benchmarks fails" in comment(project)
    (row,) = csv.DictReader((project / "regression" / "comparison.csv").read_text().splitlines())
    assert row["benchmark"] == "benchmarks/bench_it.py::test_it"
    assert float(row["ratio_low"]) < float(row["ratio"]) < float(row["ratio_high"])
    assert row["verdict"] == "SLOWER"


@pytest.mark.usefixtures("fake")
def test_equal_code_and_a_speed_up_exit_with_0(project):
    assert regression("HEAD", "HEAD", "benchmarks").exit_code == 0
    assert regression("HEAD", "HEAD~1", "benchmarks").exit_code == 0
    assert "1 FASTER" in comment(project)
    assert regression("HEAD", "HEAD~1", "benchmarks", "--fail-on", "faster:5%").exit_code == 1


def test_the_working_tree_is_judged_as_it_is(project, fake):
    (project / "seconds").write_text("1.0")
    assert regression("HEAD", ".", "benchmarks").exit_code == 0
    assert "1 FASTER" in comment(project)
    assert any(side.folder == project for _, side, *_ in fake)
    assert "git fetch" not in comment(project)


def test_the_command_in_the_comment_repeats_it(project, fake):
    regression("HEAD~1", "HEAD", "benchmarks", "--fail-on", "slower:10%", "--seconds", "0.5", "--", "-k", "a or b")
    (lines,) = re.findall(r"```\n(.*)\n```", comment(project), flags=re.DOTALL)
    fetch, line = lines.splitlines()
    words = shlex.split(line)
    assert fetch.split() == ["git", "fetch", "origin", *words[2:4]]
    assert words[4:] == ["benchmarks", "--fail-on=slower:10%", "--seconds=0.5", "--", "-k", "a or b"]
    assert all(len(word) == 40 for word in words[2:4])
    before = len(fake)
    assert CliRunner().invoke(app, words[1:]).exit_code == 1
    assert fake[before][0] == fake[0][0], "the same sessions"
    assert fake[0][0].options == ("-k", "a or b")


def test_a_project_below_the_top_of_its_repository_is_run_there(project, fake, monkeypatch):
    (project / "seconds").rename(project / "benchmarks" / "seconds")
    subprocess.run(["git", "add", "."], cwd=project, check=True)
    identity = ["-c", "user.name=tests", "-c", "user.email=tests@example.invalid"]
    subprocess.run(["git", *identity, "commit", "--quiet", "-m", "below"], cwd=project, check=True)
    monkeypatch.chdir(project / "benchmarks")
    assert regression("HEAD", "HEAD", ".", "--out", "../out").exit_code == 0
    assert {side.folder.name for _, side, *_ in fake} == {"benchmarks"}
    assert (project / "out" / "comment.md").exists()


@pytest.mark.usefixtures("fake")
def test_baselines_are_kept_by_model_and_set_beside_the_next(project):
    assert regression("HEAD", "HEAD~1", "benchmarks", "--baselines", "kept", "--keep").exit_code == 0
    (file,) = (project / "kept").rglob("*.json")
    assert file.parent.relative_to(project / "kept").parts == ("benchmarks", "nvidia-h100")
    assert json.loads(file.read_text())["medians"] == {"benchmarks/bench_it.py::test_it": pytest.approx(1.0, rel=0.01)}
    assert "Beside earlier commits" not in comment(project)
    assert regression("HEAD", "HEAD", "benchmarks", "--baselines", "kept").exit_code == 0
    assert "Beside earlier commits (nothing fails by this)" in comment(project)
    assert "1.5x" in comment(project)
    assert len(list((project / "kept").rglob("*.json"))) == 1


@pytest.mark.usefixtures("fake")
def test_a_changed_bench_file_is_pointed_out(project):
    (project / "benchmarks" / "bench_it.py").write_text(BENCH + "\n")
    regression("HEAD", ".", "benchmarks")
    assert "the benchmark itself may differ: `benchmarks/bench_it.py`" in comment(project)


@pytest.mark.usefixtures("fake")
def test_what_cannot_be_compared_leaves_a_comment_that_says_so(project, monkeypatch):
    regression("HEAD", "HEAD", "benchmarks")

    def run(_, side, *__):
        raise UserError(f"{side}: pytest ended with exit code 2: ERROR bench_it.py")

    monkeypatch.setattr(Sessions, "run", run)
    done = regression("HEAD", "HEAD", "benchmarks", "--name", "the CPU")
    assert isinstance(done.exception, UserError)
    assert comment(project).splitlines()[:2] == [
        "<!-- kfc-bench regression: the CPU -->",
        "**the CPU: the benchmarks could not be compared.**",
    ]
    assert "ERROR bench_it.py" in comment(project)
    assert not (project / "regression" / "comparison.csv").exists(), "an earlier one is gone"


@pytest.mark.usefixtures("project")
def test_benchmarks_without_a_time_on_either_side_are_no_pass(monkeypatch):
    off = BenchSession(skipped={"t": "torch sees no CUDA device here"})
    monkeypatch.setattr(Sessions, "run", lambda *_: off)
    done = regression("HEAD", "HEAD", "benchmarks")
    assert isinstance(done.exception, UserError)
    assert "no benchmark has a time in HEAD or HEAD: skipped: torch sees no CUDA device here" in str(done.exception)


@pytest.mark.usefixtures("fake")
def test_a_path_that_neither_side_has_is_refused_and_one_that_one_side_has_is_not(project):
    done = regression("HEAD~1", ".", "benchmarks", "benchmarks/bench_of.py::test_it")
    assert isinstance(done.exception, UserError)
    assert "bench_of.py::test_it: neither base (HEAD~1) nor head (.) has it" in str(done.exception)
    (project / "benchmarks" / "bench_of.py").write_text(BENCH)
    assert regression("HEAD", ".", "benchmarks", "benchmarks/bench_of.py::test_it").exit_code == 0


def spoilt(out, how):
    """Put something in the way of what is written or removed; what is to be named."""
    if how == "a file":
        out.write_text("")
        return out
    (out / "comment.md").mkdir(parents=True)
    return out / "comment.md"


@pytest.mark.parametrize("how", ["a file", "a folder in a file's place"])
def test_a_folder_that_cannot_be_used_is_named_before_anything_is_measured(project, fake, how):
    named = spoilt(project / "out", how)
    done = regression("HEAD", "HEAD", "benchmarks", "--out", "out")
    assert isinstance(done.exception, UserError)
    assert str(named) in str(done.exception)
    assert str(done.exception).endswith("name another folder with --out")
    assert fake == []


REFUSED = {
    "revision": (["HEAD", "nonesuch", "benchmarks"], "could not check out 'nonesuch'"),
    "policy": (["HEAD", "HEAD", "benchmarks", "--fail-on", "worse"], "--fail-on 'worse'"),
    "tolerance": (["HEAD", "HEAD", "benchmarks", "--tolerance", "3"], "--tolerance 3.0: a share from 0 to 1"),
    "seconds": (["HEAD", "HEAD", "benchmarks", "--seconds", "0"], "--seconds, --timeout and --sessions"),
    "name": (["HEAD", "HEAD", "benchmarks", "--name", 'it" --> it'], "--name"),
    "keep": (["HEAD", "HEAD", "benchmarks", "--keep"], "--keep adds a commit's medians to --baselines"),
    "keep-tree": (["HEAD", ".", "benchmarks", "--keep", "--baselines", "b"], "name both a folder and a commit"),
    "no paths": (["HEAD", "HEAD"], "name your bench files or folders"),
    "outside": (["HEAD", "HEAD", "../elsewhere"], "each revision runs its own files"),
    "absolute": (["HEAD", "HEAD", "/elsewhere"], "each revision runs its own files"),
}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case):
    arguments, words = REFUSED[case]
    done = regression(*arguments)
    assert isinstance(done.exception, UserError)
    assert words in str(done.exception)
    assert len(str(done.exception).splitlines()) == 1
    assert len(subprocess.check_output(["git", "worktree", "list"]).splitlines()) == 1


def test_outside_of_a_checkout_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "not a git checkout" in str(regression("HEAD", "HEAD", "benchmarks").exception)


def test_ctrl_c_keeps_what_was_measured(project, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:anyio -p no:hypothesispytest")
    process = start_cli("regression", "HEAD", "HEAD", "benchmarks", "--seconds", "0.01", cwd=project)
    try:
        sessions = project / "regression" / "sessions"
        wait_until(lambda: any(sessions.glob("first-02-*.log")) or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "interrupted: 1 rounds were compared" in said
    assert "Traceback" not in said
    assert "Broken off after 1 rounds." in comment(project)
    assert len(list(sessions.glob("first-01-*.json"))) == 2
    assert len(subprocess.check_output(["git", "worktree", "list"]).splitlines()) == 1
