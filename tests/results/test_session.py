import dataclasses
import json
import resource

import pytest

from kfc_bench.errors import UserError
from kfc_bench.results.run import list_runs
from kfc_bench.results.session import SESSION, Session, read_session, write_session
from tests.helpers import write_run

ONE = Session("mine", "cpu", "kfc-bench run mine", "2026-01-02 03:04:05", 12.5, 60.0, "complete", {"a": (3, 1)})


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path, [])
    return list_runs(tmp_path)[0]


def test_what_is_written_is_read(run):
    assert read_session(run.folder) is None
    for session in (ONE, dataclasses.replace(ONE, variant=None, time_limit_s=None, ended="cut off")):
        write_session(run, session)
        assert read_session(run.folder) == session
    assert sorted(path.name for path in run.folder.iterdir()) == ["environment.json", "journal.jsonl", SESSION]


def test_what_was_not_reached_is_counted():
    assert dataclasses.replace(ONE, sections={"a": (3, 1), "b": (5, 5), "c": (2, 0)}).not_reached == 4


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"sections": 3}', json.dumps({"sections": {}, "more": 1})])
def test_a_damaged_session_is_named(run, content):
    (run.folder / SESSION).write_text(content)
    with pytest.raises(UserError, match="damaged") as caught:
        read_session(run.folder)
    assert str(run.folder / SESSION) in str(caught.value)


def test_a_session_that_cannot_be_written_leaves_the_old_one(run):
    write_session(run, ONE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(UserError, match=f"{SESSION}: File too large"):
            write_session(run, dataclasses.replace(ONE, suite="other"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_session(run.folder) == ONE
    assert not list(run.folder.glob("*.partial"))
