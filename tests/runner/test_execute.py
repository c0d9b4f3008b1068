"""A worker that runs out of memory, dies or hangs costs its case, not the run: with real signals and a real limit."""

import multiprocessing
import os
import signal

import pytest
from rich.console import Console

from kfc_bench.results.journal import Journal
from kfc_bench.results.run import open_run
from kfc_bench.results.session import read_session
from kfc_bench.runner.execute import Executor
from kfc_bench.runner.progress import RunProgress
from kfc_bench.runner.suite import load_suite
from kfc_bench.runner.worker import Message
from tests.helpers import ENVIRONMENT_NOW, LAYER, QUICK, SLOW, cost_record, suite_text

HUNGRY = "{ in_channels = 64, out_channels = 2, size = 64, kernel = 5 }"
"""Its input factor multiplies a buffer of 22 MiB an example."""


class Runner:
    """An executor over a suite, and a hand that strikes the worker when a case begins."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        self.run, _ = open_run(folder / "results", ENVIRONMENT_NOW, fresh=False)

    def suite(self, text):
        path = self.folder / "mine.toml"
        path.write_text(text)
        return load_suite(path, None)

    def plan(self, text):
        return self.suite(text).sections[0].plan.due({})

    def execute(self, text):
        return Executor(self.suite(text), self.run, [], Console(quiet=True)).execute()

    def strike(self, number, times):
        """Send the worker a signal as a case begins whose label ends in a key of ``times``, so many times."""
        left = dict(times)

        def running(_, shown):
            for label in left:
                if shown.endswith(label) and left[label]:
                    left[label] -= 1
                    (worker,) = multiprocessing.active_children()
                    os.kill(worker.pid, number)

        self.monkeypatch.setattr(RunProgress, "running", running)

    def journal(self):
        return [(record["batch"], record["status"], record["attempt"]) for record in self.run.records()]


@pytest.fixture
def runner(tmp_path, monkeypatch):
    yield Runner(tmp_path, monkeypatch)
    assert multiprocessing.active_children() == []


def test_a_killed_worker_s_case_is_tried_once_more_and_nothing_else_is_lost(runner):
    compared = (
        f'[[sweep]]\noperator = "damped_inverse"\nlayer = {LAYER}\nbatch = 5\n'
        'implementation = ["reference", "eigendecomposition"]'
    )
    text = suite_text("[2, 4]", defaults=SLOW, more=compared)
    runner.strike(signal.SIGKILL, {"batch 4": 2, "eigendecomposition, 2->3 6x6 k3x3 padding 0, batch 5": 1})
    records = runner.execute(text)
    implementations = [record["implementation"] for record in runner.run.records()]
    assert [(*line, name) for line, name in zip(runner.journal(), implementations, strict=True)] == [
        (2, "ok", 1, "reference"),
        (4, "crashed", 1, "auto"),
        (5, "crashed", 1, "eigendecomposition"),
        (5, "ok", 1, "reference"),
        (4, "crashed", 2, "auto"),
        (5, "ok", 2, "eigendecomposition"),
    ]
    assert {record["reason"] for record in runner.run.records() if record["status"] == "crashed"} == {
        "the worker was ended by SIGKILL; the system may have run out of memory"
    }
    assert runner.execute(text) == records
    assert len(runner.journal()) == 6


def test_a_worker_that_hangs_is_given_up_in_time(runner):
    runner.strike(signal.SIGSTOP, {"batch 2": 1})
    runner.execute(suite_text("[2, 3]", defaults=f"{SLOW}\ntimeout_s = 8"))
    assert runner.journal() == [(2, "timeout", 1), (3, "ok", 1), (2, "ok", 2)]
    assert "no sign of life for 8 s" in runner.run.records()[0]["reason"]


def test_a_worker_that_dies_between_groups_costs_nothing(runner, monkeypatch):
    workers = []

    def finished(*_):
        if not workers:
            workers.extend(multiprocessing.active_children())
            workers[0].kill()
            workers[0].join()

    monkeypatch.setattr(RunProgress, "finished", finished)
    runner.execute(suite_text("[2, 3]"))
    assert runner.journal() == [(2, "ok", 1), (3, "ok", 1)]


def test_a_worker_without_memory_loses_that_case_alone(runner, monkeypatch):
    monkeypatch.setattr("kfc_bench.runner.execute.CHECK_ROOM", 1)
    more = f'[[sweep]]\noperator = "input_factor"\nlayer = {LAYER}\nbatch = 2'
    runner.execute(suite_text("18", layer=HUNGRY, defaults=f"{QUICK}\nmemory_limit_gib = 0.5", more=more))
    assert runner.journal() == [(18, "oom", 1), (2, "ok", 1)]
    assert "memory" in runner.run.records()[0]["reason"]


def test_finished_cases_start_no_worker(runner, monkeypatch):
    monkeypatch.setattr("kfc_bench.runner.execute._Worker.start", lambda *_: pytest.fail("a worker was started"))
    text = suite_text("[2, 3]")
    finished, given_up = runner.plan(text)
    with Journal(runner.run.journal) as journal:
        journal.append(cost_record(finished.case_id))
        journal.append(cost_record(given_up.case_id, status="crashed", attempt=2))
    assert len(runner.execute(text)) == 2


LIMITED = "time_limit_s = 1e-6\n"


def test_no_group_begins_once_the_time_is_up_and_another_run_goes_on(runner, monkeypatch):
    text = suite_text("[2, 3]")
    executor = Executor(runner.suite(LIMITED + text), runner.run, [], Console(quiet=True))
    assert executor.execute() == []
    assert executor.out_of_time
    assert executor.counts() == {"mine": (2, 0)}
    session = read_session(runner.run.folder)
    assert (session.ended, session.time_limit_s, session.not_reached) == ("time limit", 1e-6, 2)
    begun = []

    def running(_, label):
        begun.append(label)
        executor._deadline = 0.0

    monkeypatch.setattr(RunProgress, "running", running)
    executor.suite = runner.suite("time_limit_s = 60\n" + text)
    executor.execute()
    assert {label.split(", ")[-1] for label in begun} == {"batch 2"}
    assert executor.out_of_time
    assert runner.journal() == [(2, "ok", 1)]
    monkeypatch.undo()
    unlimited = Executor(runner.suite(text), runner.run, [], Console(quiet=True))
    unlimited.execute()
    assert not unlimited.out_of_time
    later = read_session(runner.run.folder)
    assert (later.ended, later.sections, later.suite) == ("complete", {"mine": (2, 2)}, "mine")
    assert later.seconds > session.seconds
    assert runner.journal() == [(2, "ok", 1), (3, "ok", 1)]


class InstantWorker:
    """Finishes every case as soon as it is sent, and counts them."""

    def __init__(self, memory_limit_bytes):
        self.memory_limit_bytes = memory_limit_bytes
        self.channel, self.messages, self.sent = self, [], []

    def send(self, cases):
        self.sent += cases
        self.messages = [Message("record", case.case_id, record={"status": "ok"}) for case in cases]
        self.messages.append(Message("ready"))

    def receive(self, _):
        return self.messages.pop(0)

    def stop(self):
        pass


@pytest.mark.filterwarnings("ignore::kfc_bench.results.journal.TornLineWarning")
def test_a_journal_torn_at_any_byte_of_its_last_record_costs_that_record_alone(runner, monkeypatch):
    workers = []

    def start(memory_limit_bytes, _):
        workers.append(InstantWorker(memory_limit_bytes))
        return workers[-1]

    monkeypatch.setattr("kfc_bench.runner.execute._Worker.start", start)
    text = suite_text("[2, 3, 4]")
    runner.execute(text)
    journal = runner.run.journal
    whole, finished = journal.read_bytes(), runner.journal()
    last = whole.rindex(b"\n", 0, -1) + 1
    for size in range(last, len(whole) + 1):
        journal.write_bytes(whole[:size])
        workers.clear()
        runner.execute(text)
        measured = [case.columns()["batch"] for worker in workers for case in worker.sent]
        assert (size, measured) == (size, [] if size >= len(whole) - 1 else [4])
        assert journal.read_bytes() == whole
        assert runner.journal() == finished
