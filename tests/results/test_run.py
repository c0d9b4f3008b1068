import json
import os
import resource
import subprocess
import sys

import pytest

from kfc_bench.errors import UserError
from kfc_bench.results.run import ENVIRONMENT, is_final, latest_by_case, list_runs, locked, open_run
from tests.helpers import ENVIRONMENT_NOW, cost_record, surroundings, write_run


def test_the_first_run_is_written_whole(tmp_path):
    run, line = open_run(tmp_path, ENVIRONMENT_NOW, fresh=False)
    assert line == f"new run {run.run_id}"
    assert [listed.environment for listed in list_runs(tmp_path)] == [run.environment]
    assert ENVIRONMENT_NOW.items() <= run.environment.items()
    assert [path.name for path in run.folder.iterdir()] == [ENVIRONMENT]
    assert run.records() == []


def test_an_equal_fingerprint_goes_on(tmp_path):
    first, _ = open_run(tmp_path, ENVIRONMENT_NOW, fresh=False)
    again, line = open_run(tmp_path, ENVIRONMENT_NOW | {"threads": 4}, fresh=False)
    assert again.run_id == first.run_id
    assert line == f"going on with run {first.run_id}"


@pytest.mark.parametrize("key", ["device", "driver", "torch", "triton", "code"])
def test_another_fingerprint_opens_a_run_and_says_what_changed(tmp_path, key):
    write_run(tmp_path, [])
    run, line = open_run(tmp_path, ENVIRONMENT_NOW | {key: "another"}, fresh=False)
    assert line == f"new run {run.run_id}: {key} changed since run run1"
    assert len(list_runs(tmp_path)) == 2


def test_a_peer_that_was_installed_meanwhile_opens_a_run(tmp_path):
    open_run(tmp_path, ENVIRONMENT_NOW, fresh=False)
    _, line = open_run(tmp_path, ENVIRONMENT_NOW | {"peers": {"nngeometry": "0.4"}}, fresh=False)
    assert "peers changed since run" in line


def test_an_older_run_of_the_same_fingerprint_is_gone_on_with(tmp_path):
    write_run(tmp_path, [], "run1")
    write_run(tmp_path, [], "run2", code="other")
    run, line = open_run(tmp_path, ENVIRONMENT_NOW, fresh=False)
    assert (run.run_id, line) == ("run1", "going on with run run1")


def test_fresh_opens_a_run_even_within_the_same_second(tmp_path):
    first, _ = open_run(tmp_path, ENVIRONMENT_NOW, fresh=True)
    second, line = open_run(tmp_path, ENVIRONMENT_NOW, fresh=True)
    assert line == f"new run {second.run_id}"
    assert [run.run_id for run in list_runs(tmp_path)] == [first.run_id, second.run_id]


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", "\x00\x00", '{"schema": 1}'])
def test_a_damaged_environment_is_named(tmp_path, content):
    folder = write_run(tmp_path, [])
    (folder / ENVIRONMENT).write_text(content)
    with pytest.raises(UserError, match="damaged") as caught:
        open_run(tmp_path, ENVIRONMENT_NOW, fresh=False)
    assert str(folder / ENVIRONMENT) in str(caught.value)


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_version_is_refused(tmp_path, schema):
    folder = write_run(tmp_path, [], schema=schema)
    with pytest.raises(UserError, match=f"schema version {schema!r}.*use another --results folder") as caught:
        open_run(tmp_path, ENVIRONMENT_NOW, fresh=False)
    assert str(folder / ENVIRONMENT) in str(caught.value)


@pytest.mark.parametrize("limit", [0, 100])
def test_an_environment_that_does_not_fit_leaves_nothing_half_written(tmp_path, limit):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(UserError, match="File too large"):
            open_run(tmp_path, ENVIRONMENT_NOW, fresh=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list_runs(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_results_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "results"):
        with pytest.raises(UserError, match="--results") as caught, locked(root):
            pass
        assert str(root) in str(caught.value)


def test_a_lock_is_held_once_and_let_go(tmp_path):
    with locked(tmp_path / "a"):
        with pytest.raises(UserError, match="another kfc-bench"), locked(tmp_path / "a"):
            pass
        with locked(tmp_path / "b"):
            pass
    with locked(tmp_path / "a"):
        pass
    assert not list((tmp_path / "a").iterdir())


def test_what_goes_wrong_under_a_lock_is_not_taken_for_it(tmp_path):
    with pytest.raises(BlockingIOError), locked(tmp_path):
        raise BlockingIOError
    with locked(tmp_path):
        pass


def test_a_killed_holder_leaves_no_lock(tmp_path):
    script = (
        "import os, sys, signal; from pathlib import Path; from kfc_bench.results.run import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, os.fspath(tmp_path)], env=surroundings())
    assert done.returncode == -9
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("status", "attempt", "final"),
    [
        ("ok", 1, True),
        ("oom", 1, True),
        ("wrong", 1, True),
        ("diverged", 1, True),
        ("unsupported", 1, True),
        ("crashed", 1, False),
        ("timeout", 1, False),
        ("crashed", 2, True),
        ("timeout", 2, True),
        ("timeout", None, False),
    ],
)
def test_crashes_and_time_outs_are_tried_once_more(status, attempt, final):
    record = cost_record(status=status, **({} if attempt is None else {"attempt": attempt}))
    assert is_final(record) is final


def test_the_newest_record_of_a_case_counts(tmp_path):
    records = [cost_record("a", status="crashed", attempt=1), cost_record("b"), cost_record("a", attempt=2)]
    folder = write_run(tmp_path, records)
    run = list_runs(tmp_path)[0]
    assert run.folder == folder
    assert {case: record["status"] for case, record in latest_by_case(run.records()).items()} == {"a": "ok", "b": "ok"}


def test_the_environment_is_plain_json(tmp_path):
    run, _ = open_run(tmp_path, ENVIRONMENT_NOW, fresh=False)
    assert json.loads((run.folder / ENVIRONMENT).read_text()) == run.environment
