"""Running a suite: plan, hand groups to a worker, keep every record, go on after whatever happens."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess

from rich.console import Console

from kfc_bench.errors import UserError
from kfc_bench.experiments import Case
from kfc_bench.results.journal import Journal
from kfc_bench.results.run import Run, is_final, latest_by_case
from kfc_bench.results.schema import SCHEMA, Record
from kfc_bench.results.session import Ending, Session, read_session, write_session
from kfc_bench.runner.checkpoints import CHECKPOINTS, Checkpoints
from kfc_bench.runner.filters import Filter, matches
from kfc_bench.runner.progress import RunProgress
from kfc_bench.runner.suite import Section, Suite
from kfc_bench.runner.worker import Message, serve

START_TIMEOUT_S = 120.0
CHECK_ROOM = 4
"""A worker may hold so many times a case's memory limit: inputs, the case, and its check in float64."""


@contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Start a process with Ctrl-C blocked, so that it is the runner's alone to answer, once the start is whole."""
    # Starting multiprocessing's tracker would unblock it.
    resource_tracker.ensure_running()
    held: list[int] = []
    # The mask is what the new process inherits; the handler is for this process's other threads, which it leaves out.
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if held:
        raise KeyboardInterrupt


@dataclass
class _Worker:
    """A worker process and the pipe to it."""

    process: SpawnProcess
    channel: connection.Connection
    memory_limit_bytes: int | None

    @classmethod
    def start(cls, memory_limit_bytes: int | None, checkpoints: Checkpoints) -> _Worker:
        # Read when torch is imported: its allocator warns of each block that is older than a profile.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, memory_limit_bytes, checkpoints), daemon=True)
        with _interrupt_held_back():
            process.start()
        theirs.close()
        worker = cls(process, ours, memory_limit_bytes)
        try:
            worker.receive(START_TIMEOUT_S)
        except (EOFError, ConnectionError, TimeoutError):
            reason = worker.obituary()
            worker.stop()
            raise UserError(f"no worker could be started: {reason}") from None
        return worker

    def receive(self, timeout_s: float) -> Message:
        """Wait for a message; EOFError if the process died, TimeoutError if it is silent for too long."""
        if not self.channel.poll(timeout_s):
            raise TimeoutError
        return self.channel.recv()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.channel.close()

    def obituary(self) -> str:
        """Say how the process ended."""
        self.process.join(timeout=5)
        code = self.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
            return f"the worker was ended by {name}{hint}"
        return f"the worker ended with exit code {code}"


@dataclass
class Executor:
    """Runs a suite into a run.

    Attributes:
        out_of_time: Whether the suite's time limit ended the last `execute` before all was done.

    Args:
        suite: The suite.
        run: Where its records go.
        filters: Only cases that match all of them are run.
        console: Where progress is shown.
        command: What was typed, for the session's record.
        circumstances: For the session's record.
    """

    suite: Suite
    run: Run
    filters: Sequence[Filter]
    console: Console
    command: str = ""
    circumstances: str | None = None
    out_of_time: bool = field(default=False, init=False)
    _records: dict[str, Record] = field(default_factory=dict, init=False)
    _worker: _Worker | None = field(default=None, init=False)
    _deadline: float | None = field(default=None, init=False)
    _began: str = field(default="", init=False)
    _start: float = field(default=0.0, init=False)
    _before: Session | None = field(default=None, init=False)

    def execute(self) -> list[Record]:
        """Run every case that has no final record yet; once the suite's time limit has passed, no group begins.

        Returns:
            The newest record of every case of the run.

        Raises:
            UserError: The journal or the session cannot be written or read, or a case needs something mended first,
                as a damaged file; every finished record is kept.
            KeyboardInterrupt: Ctrl-C; every finished record is kept.
        """
        self._records = latest_by_case(self.run.records())
        self.out_of_time = False
        self._began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        self._start = time.monotonic()
        self._before = read_session(self.run.folder)
        limit = self.suite.time_limit_s
        self._deadline = None if limit is None else self._start + limit
        ended: Ending = "cut off"
        write_session(self.run, self._session(ended))
        try:
            with Journal(self.run.journal) as journal, RunProgress(self.console, self.counts()) as progress:
                for section in self.suite.sections:
                    while (pending := self._pending(section)) and not self.out_of_time:
                        self._run_groups(section, pending, journal, progress)
            ended = "time limit" if self.out_of_time else "complete"
        except KeyboardInterrupt:
            ended = "interrupted"
            raise
        finally:
            if self._worker is not None:
                self._worker.stop()
            with suppress(UserError):
                write_session(self.run, self._session(ended))
        return list(self._records.values())

    def _session(self, ended: Ending) -> Session:
        before = self._before.seconds if self._before is not None else 0.0
        return Session(
            suite=self.suite.name,
            variant=self.suite.variant,
            command=self.command,
            began=self._began,
            seconds=before + time.monotonic() - self._start,
            time_limit_s=self.suite.time_limit_s,
            ended=ended,
            sections=self.counts(),
            circumstances=self.circumstances,
        )

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return, by section, how many cases it has and how many are finished; of filtered ones, as far as known."""
        return {section.name: self._count(section) for section in self.suite.sections}

    @property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.run.folder / CHECKPOINTS)

    def _final(self) -> dict[str, Record]:
        return {case_id: record for case_id, record in self._records.items() if is_final(record)}

    def _count(self, section: Section) -> tuple[int, int]:
        final = self._final()
        wanted = [case for case in section.plan.due(final) if matches(case.columns(), self.filters)]
        return len(wanted) if self.filters else section.plan.total, sum(case.case_id in final for case in wanted)

    def _pending(self, section: Section) -> list[Case]:
        final = self._final()
        return [
            case
            for case in section.plan.due(final)
            if case.case_id not in final and matches(case.columns(), self.filters)
        ]

    def _run_groups(self, section: Section, pending: Sequence[Case], journal: Journal, progress: RunProgress) -> None:
        groups: dict[str, list[Case]] = {}
        for case in pending:
            groups.setdefault(case.group, []).append(case)
        for group in groups.values():
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self.out_of_time = True
                return
            self._run_group(section, group, journal, progress)

    def _run_group(self, section: Section, group: list[Case], journal: Journal, progress: RunProgress) -> None:
        """Run one group in the worker; when that dies, the case at fault is recorded and the rest starts anew."""
        remaining = {case.case_id: case for case in group}

        def keep(case: Case, own: Record) -> None:
            record = self._record(section, case, own)
            journal.append(record)
            self._records[case.case_id] = record
            del remaining[case.case_id]
            if is_final(record):
                # Not before: the second try of a crash goes on where the first one was.
                self._checkpoints.remove(case.case_id)
                progress.finished(section.name)
            if record["status"] not in ("ok", "unsupported"):
                progress.note(f"{record['status']}: {case.label}: {record.get('reason')}")

        def lose(case: Case, status: str, reason: str) -> None:
            self._discard_worker()
            if case.case_id in remaining:
                keep(case, {"status": status, "reason": reason})

        while remaining:
            cases = list(remaining.values())
            limit = cases[0].memory_limit_bytes if self.suite.device == "cpu" else None
            limit = limit and CHECK_ROOM * limit
            worker = self._worker_with(limit)
            current = cases[0]
            try:
                worker.channel.send(cases)
                while (message := worker.receive(current.timeout_s)).kind != "ready":
                    current = remaining[message.case_id]
                    if message.record is not None:
                        keep(current, message.record)
                    elif message.kind == "refused":
                        raise UserError(message.doing)
                    elif message.kind == "note":
                        progress.note(message.doing)
                    else:
                        progress.running(current.label)
            except TimeoutError:
                reason = f"no sign of life for {current.timeout_s:g} s; timeout_s in the suite file sets the limit"
                lose(current, "timeout", reason)
            except (EOFError, ConnectionError):
                lose(current, "crashed", worker.obituary())

    def _worker_with(self, memory_limit_bytes: int | None) -> _Worker:
        if self._worker is not None and self._worker.memory_limit_bytes != memory_limit_bytes:
            self._discard_worker()
        if self._worker is None:
            self._worker = _Worker.start(memory_limit_bytes, self._checkpoints)
        return self._worker

    def _discard_worker(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _record(self, section: Section, case: Case, own: Record) -> Record:
        environment = self.run.environment
        previous = self._records.get(case.case_id)
        return {
            "schema": SCHEMA,
            "run_id": environment["run_id"],
            "env_id": environment["env_id"],
            "case_id": case.case_id,
            "experiment": case.experiment,
            "section": section.name,
            **case.columns(),
            **own,
            "attempt": previous.get("attempt", 1) + 1 if previous else 1,
        }
