"""What is the user's to mend in the middle of a run: it ends with that line, and is measured once it is mended."""

import re

import pytest
from rich.console import Console

from kfc_bench.errors import UserError
from kfc_bench.experiments import EXPERIMENTS
from kfc_bench.experiments.base import KnownCases
from kfc_bench.results.run import open_run
from kfc_bench.results.schema import COLUMNS as SCHEMA_COLUMNS
from kfc_bench.results.schema import COMMON
from kfc_bench.runner.checkpoints import Checkpoints
from kfc_bench.runner.execute import Executor
from kfc_bench.runner.suite import Section, Suite
from kfc_bench.runner.worker import measure_group
from tests.helpers import ENVIRONMENT_NOW
from tests.runner.counting import COLUMNS, COUNTING, NAME, REFUSAL, CountingCase


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, NAME, COUNTING)
    monkeypatch.setitem(SCHEMA_COLUMNS, NAME, (*COMMON, *COLUMNS))


class Channel(list):
    send = list.append


@pytest.mark.parametrize(("fate", "begun"), [("cannot be opened", 1), ("is refused", 4)])
def test_a_worker_says_it_and_gives_the_group_up(fate, begun, tmp_path):
    channel = Channel()
    measure_group([CountingCase("one", fate)], channel, Checkpoints(tmp_path / "checkpoints"))
    assert [message.kind for message in channel] == ["begin"] * begun + ["refused"]
    assert channel[-1].doing == REFUSAL


def test_it_ends_the_run_and_becomes_no_record(tmp_path):
    run, _ = open_run(tmp_path, ENVIRONMENT_NOW, fresh=False)

    def execute(fate):
        # A section each: groups of their own, one after the other.
        cases = (CountingCase("a"), CountingCase("b", fate))
        sections = tuple(Section(case.name, NAME, KnownCases((case,))) for case in cases)
        Executor(Suite("mine", "cpu", sections), run, [], Console(quiet=True)).execute()

    def journal():
        return [(record["label"], record["status"], record["attempt"]) for record in run.records()]

    with pytest.raises(UserError, match=f"^{re.escape(REFUSAL)}$"):
        execute("cannot be opened")
    assert journal() == [("a", "ok", 1)]
    execute(None)
    assert journal() == [("a", "ok", 1), ("b", "ok", 1)]
