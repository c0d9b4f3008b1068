"""What is killed in the middle goes on where it was: in a worker that is called here, and in a real one."""

import dataclasses
import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from rich.console import Console

from kfc_bench.experiments import EXPERIMENTS
from kfc_bench.experiments.base import KnownCases, Resumable
from kfc_bench.experiments.convergence.training import Trial
from kfc_bench.results.frames import load_results
from kfc_bench.results.run import open_run
from kfc_bench.results.schema import COLUMNS as SCHEMA_COLUMNS
from kfc_bench.results.schema import COMMON
from kfc_bench.runner.checkpoints import CHECKPOINTS, Checkpoints
from kfc_bench.runner.execute import Executor
from kfc_bench.runner.progress import RunProgress
from kfc_bench.runner.suite import Section, Suite
from kfc_bench.runner.worker import measure_group
from tests.helpers import ENVIRONMENT_NOW, cost_record, write_run
from tests.runner.counting import COLUMNS, COUNTING, NAME, Counting, CountingCase

CASE = CountingCase("one")
PREPARING = 1
"""Messages before the first visit's."""


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, NAME, COUNTING)
    monkeypatch.setitem(SCHEMA_COLUMNS, NAME, (*COMMON, *COLUMNS))


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / CHECKPOINTS)


class Channel:
    """Keeps what a worker says, and cuts it off as it says the n-th thing."""

    def __init__(self, cut_at=None):
        self.said, self._cut_at = [], cut_at

    def send(self, message):
        self.said.append(message)
        if len(self.said) == self._cut_at:
            raise KeyboardInterrupt

    @property
    def notes(self):
        return [message.doing for message in self.said if message.kind == "note"]

    @property
    def counts(self):
        records = [message.record for message in self.said if message.record]
        return [(record["total"], record["here"]) for record in records]


def measured(checkpoints):
    channel = Channel()
    measure_group([CASE], channel, checkpoints)
    return channel


def cut_off_after(visits, checkpoints):
    with pytest.raises(KeyboardInterrupt):
        measure_group([CASE], Channel(cut_at=PREPARING + visits + 1), checkpoints)


def test_a_measurement_goes_on_where_its_checkpoint_is(checkpoints):
    cut_off_after(3, checkpoints)
    assert checkpoints.load(CASE.case_id) == {"count": torch.tensor(3)}
    channel = measured(checkpoints)
    assert (channel.counts, channel.notes) == ([(4, 1)], [])


@pytest.mark.parametrize("size", [0, 100, None], ids=["empty", "torn", "of another shape"])
def test_a_checkpoint_that_cannot_be_taken_up_is_removed_and_said(checkpoints, size):
    cut_off_after(3, checkpoints)
    (file,) = checkpoints.folder.iterdir()
    if size is None:
        torch.save({"counted": 3}, file)
    else:
        os.truncate(file, size)
    cut_off_after(1, checkpoints)
    assert not file.exists()
    channel = measured(checkpoints)
    assert (channel.counts, channel.notes) == ([(4, 4)], [])


def test_what_was_removed_is_one_line_of_progress(checkpoints):
    checkpoints.folder.mkdir()
    (checkpoints.folder / f"{CASE.case_id}.pt").touch()
    (note,) = measured(checkpoints).notes
    assert note.startswith("one: its checkpoint cannot be taken up, it starts anew: ")
    assert "\n" not in note


def test_a_write_that_is_cut_off_leaves_the_checkpoint_before(checkpoints, monkeypatch):
    checkpoints.save("a", {"count": 1})

    def cut_off(_, path):
        Path(path).write_bytes(b"half of i")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save("a", {"count": 2})
    assert checkpoints.load("a") == {"count": 1}
    assert [path.name for path in checkpoints.folder.iterdir()] == ["a.pt"]


def test_a_checkpoint_that_cannot_be_written_costs_no_case(checkpoints):
    checkpoints.folder.write_text("a file where the folder should be")
    channel = measured(checkpoints)
    assert channel.counts == [(4, 4)]
    assert [note.split(": ")[1] for note in channel.notes] == ["no checkpoint was written, it goes on without"] * 3


def test_what_cannot_be_laid_down_has_no_checkpoint(checkpoints, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, NAME, dataclasses.replace(COUNTING, open=Counting))
    cut_off_after(2, checkpoints)
    assert not checkpoints.folder.exists()


def test_neither_saving_nor_its_wait_is_in_the_time_of_a_case(checkpoints, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("kfc_bench.runner.worker.time.monotonic", lambda: now[0])

    def save(*_):
        now[0] += 1000.0

    monkeypatch.setattr(Checkpoints, "save", save)
    (record,) = (message.record for message in measured(checkpoints).said if message.record)
    assert (now[0], record["worker_s"]) == (3000.0, 0.0)


class Runner:
    """An executor with real workers."""

    def __init__(self, folder):
        self.root = folder / "results"
        self.run, _ = open_run(self.root, ENVIRONMENT_NOW, fresh=False)

    def execute(self, *cases):
        suite = Suite("mine", "cpu", (Section("mine", NAME, KnownCases(cases)),))
        return Executor(suite, self.run, [], Console(quiet=True)).execute()

    def journal(self):
        columns = ("label", "status", "attempt", "total", "here")
        return [tuple(record.get(name) for name in columns) for record in self.run.records()]

    def left(self):
        return [path.name for path in self.run.folder.glob(f"{CHECKPOINTS}/*")]


@pytest.fixture
def runner(tmp_path):
    yield Runner(tmp_path)
    assert multiprocessing.active_children() == []


def test_the_second_try_of_a_killed_worker_s_case_goes_on_where_the_first_was(runner):
    runner.execute(CountingCase("one", "dies"))
    assert runner.journal() == [("one", "crashed", 1, None, None), ("one", "ok", 2, 4, 2)]
    assert runner.left() == []


def test_after_ctrl_c_another_run_goes_on_in_the_middle_of_a_case(runner, monkeypatch):
    case = CountingCase("one", "waits")
    begun = []

    def running(_, label):
        begun.append(label)
        if len(begun) == PREPARING + 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunProgress, "running", running)
    with pytest.raises(KeyboardInterrupt):
        runner.execute(case)
    assert (runner.journal(), runner.left()) == ([], [f"{case.case_id}.pt"])
    runner.execute(case)
    assert runner.journal() == [("one", "ok", 1, 4, 2)]
    assert runner.left() == []


def test_checkpoints_are_no_results(tmp_path):
    folder = write_run(tmp_path, [cost_record()])
    Checkpoints(folder / CHECKPOINTS).save("a", {"count": 1})
    assert len(load_results([tmp_path], every_run=True).cost) == 1


def test_a_convergence_trial_can_be_laid_down():
    assert issubclass(Trial, Resumable)
