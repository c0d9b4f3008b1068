"""``kfc-bench compare``, as a user calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import assert_refused, cli, cli_here, cost_record, sources, suite_text, write_run

STEADY = [1.0, 1.001, 0.999, 1.002, 0.998, 1.0, 1.001, 0.999]


def run_of(root, run_id, factor, **environment):
    records = [
        cost_record(
            f"case {index}",
            operator="input_factor",
            layer=f"layer {index}",
            time_median_s=factor * (1 + 0.001 * index),
            time_ci_low_s=factor * 0.999,
            time_ci_high_s=factor * 1.001,
        )
        for index in range(8)
    ]
    return write_run(root, records, run_id, **environment)


@pytest.fixture
def repeated(tmp_path):
    """Five runs of the old code, and one of the new that takes a quarter longer."""
    for index, factor in enumerate((1.0, 1.01, 0.99, 1.005, 0.995)):
        run_of(tmp_path / "results", f"old{index}", factor)
    run_of(tmp_path / "results", "slow", 1.25, code="n3w")
    return tmp_path


def test_stored_runs_with_a_history(repeated):
    done = cli_here(
        "compare", "results/old0", "results/slow", "--fail-on", "slower:5%", "--format", "csv", cwd=repeated
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("SLOWER") == 8
    assert "differs: code: c0de -> n3w" in done.stderr
    assert "8 of 8 cases fail the policy slower:5%" in done.stderr
    same = cli_here("compare", "results/old0", "results/old1", "--fail-on", "slower", cwd=repeated)
    assert same.returncode == 0, same.stderr


def test_stored_runs_without_a_history_are_unclear(tmp_path):
    run_of(tmp_path / "results", "old", 1.0)
    run_of(tmp_path / "results", "slow", 2.0)
    done = cli_here("compare", "results/old", "results", "--fail-on", "slower", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no history of repeated runs") == 8
    assert "8 UNCLEAR" in done.stderr
    assert cli_here("compare", "results/old", "results", "--fail-on", "unclear", cwd=tmp_path).returncode == 1


def test_a_history_elsewhere_counts(repeated, tmp_path):
    run_of(tmp_path / "here", "old", 1.0)
    run_of(tmp_path / "there", "slow", 1.25, code="n3w")
    done = cli_here("compare", "here", "there", "--history", "results", "--fail-on", "slower", cwd=repeated)
    assert done.returncode == 1, done.stderr


def test_the_table_goes_to_a_file(repeated):
    done = cli_here(
        "compare", "results/old0", "results/slow", "--format", "markdown", "--out", "table.md", cwd=repeated
    )
    assert done.returncode == 0
    assert done.stdout == ""
    assert (repeated / "table.md").read_text().startswith("**results/slow against results/old0**")


REFUSED = {
    "nowhere": (["nowhere", "results"], "nowhere: no such results folder", "--checkout"),
    "empty": (["results", "empty"], "empty: no run in it"),
    "same": (["results", "results"], "are the same run"),
    "policy": (["results", "results", "--fail-on", "worse"], "--fail-on 'worse'", "slower:5%"),
    "tolerance": (["results", "results", "--tolerance", "3"], "--tolerance 3.0", "0.03 for 3 %"),
    "filter": (["results", "results", "--filter", "batch=2"], "go with --checkout"),
    "no-checkout": (["HEAD", ".", "--checkout"], "not a git checkout of KFC Bench"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(tmp_path, case):
    arguments, *words = REFUSED[case]
    run_of(tmp_path / "results", "run1", 1.0)
    (tmp_path / "empty").mkdir()
    assert_refused(cli_here("compare", *arguments, cwd=tmp_path), *words)


QUIET = "1e-3 + elapsed % 1e-5"
"""What the clock says of any call, with a noise of one per cent: what else runs on the machine must not decide."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A checkout whose second commit makes every call take 1.3 times as long, by the clock."""
    top = tmp_path_factory.mktemp("checkout")
    skipped = shutil.ignore_patterns("__pycache__", "share")
    shutil.copytree(sources() / "kfc_bench", top / "kfc_bench", ignore=skipped)
    shutil.copytree(sources() / "kfc_kernels", top / "kernels" / "kfc_kernels", ignore=skipped)
    (top / "suites").mkdir()
    (top / "tiny.toml").write_text(suite_text("[2, 3]", defaults=""))

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=tests", "-c", "user.email=tests@example.invalid"]
        subprocess.run(["git", *identity, *arguments], cwd=top, check=True, capture_output=True)

    clock = top / "kfc_bench" / "measure" / "clock.py"
    text = clock.read_text()
    assert text.count("return elapsed / calls") == 1
    clock.write_text(text.replace("return elapsed / calls", f"return {QUIET}"))
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "as it is")
    clock.write_text(text.replace("return elapsed / calls", f"return 1.3 * ({QUIET})"))
    git("commit", "--quiet", "--all", "-m", "slower")
    return top


def checkout(repository, *arguments):
    return cli("compare", *arguments, "--checkout", "--suite", "tiny.toml", cwd=repository, packages=repository)


@pytest.fixture(autouse=True, scope="module")
def kernels_beside(repository):
    """The command itself runs from the checkout too, where the kernels lie one folder deeper."""
    Path(repository / "kfc_kernels").symlink_to(repository / "kernels" / "kfc_kernels")


def test_a_planted_slowdown_between_two_revisions_fails_the_build(repository):
    done = checkout(repository, "HEAD~1", "HEAD", "--fail-on", "slower:10%", "--records", "kept.jsonl")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 SLOWER" in done.stderr
    pairs = [json.loads(line) for line in (repository / "kept.jsonl").read_text().splitlines()]
    assert len(pairs) == 2
    for pair in pairs:
        assert pair["a"]["status"] == pair["b"]["status"] == "ok"
        assert len(pair["a"]["visit_medians_s"]) == len(pair["b"]["visit_medians_s"]) >= 20
        assert pair["a"]["visit_group"] == pair["b"]["visit_group"]
    worktrees = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    assert len(worktrees.stdout.splitlines()) == 1, "the checkouts are gone again"


def test_equal_revisions_pass_and_filters_hold(repository):
    done = checkout(repository, "HEAD", "HEAD", "--fail-on", "slower:10%", "--filter", "batch=3", "--format", "csv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_an_unknown_revision_is_refused(repository):
    assert_refused(checkout(repository, "HEAD", "nonesuch"), "could not check out 'nonesuch'")
