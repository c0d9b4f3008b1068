"""The process that measures: whatever goes wrong in it costs one case, not the run."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from typing import Literal

from kfc_bench.errors import UserError
from kfc_bench.experiments import EXPERIMENTS, Case, Measurement, Resumable
from kfc_bench.measure.memory import limit_own_memory
from kfc_bench.results.schema import Record
from kfc_bench.runner.checkpoints import Checkpoints


@dataclass(frozen=True)
class Message:
    """What a worker tells the runner.

    Attributes:
        kind: ``ready`` (imported, or group done), ``begin`` (about to work on a case), ``note`` (a line
            for the user), ``record``, or ``refused`` (the user has to mend something, the group is given up).
        case_id: The case; empty for ``ready``.
        doing: For the progress bar: ``preparing`` or ``measuring``; of a note or a refusal, its line.
        record: The finished record's own columns.
    """

    kind: Literal["ready", "begin", "note", "record", "refused"]
    case_id: str = ""
    doing: str = ""
    record: Record | None = None


def _die_with_parent() -> None:
    """End this process as soon as its parent has ended, even by SIGKILL."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _opened(case: Case, channel: connection.Connection, checkpoints: Checkpoints) -> Measurement:
    """Prepare a case, at its checkpoint if it has one; one that cannot be taken up is removed."""
    experiment = EXPERIMENTS[case.experiment]
    measurement = experiment.open(case)
    if not isinstance(measurement, Resumable):
        return measurement
    try:
        state = checkpoints.load(case.case_id)
        if state is not None:
            measurement.load_state_dict(state)
    except Exception as error:
        checkpoints.remove(case.case_id)
        line = f"{case.label}: its checkpoint cannot be taken up, it starts anew: {_first_line(error)}"
        channel.send(Message("note", case.case_id, line))
        return experiment.open(case)
    return measurement


def _save(case: Case, measurement: Resumable, channel: connection.Connection, checkpoints: Checkpoints) -> None:
    """Keep a checkpoint; one that cannot be written does not cost the case."""
    try:
        checkpoints.save(case.case_id, measurement.state_dict())
    except Exception as error:
        line = f"{case.label}: no checkpoint was written, it goes on without: {_first_line(error)}"
        channel.send(Message("note", case.case_id, line))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def measure_group(cases: Sequence[Case], channel: connection.Connection, checkpoints: Checkpoints) -> None:
    """Measure the cases of one comparison group: prepare each, then visit them in turn until none wants more.

    Each round visits all in a new order, so that what one leaves behind does not always meet the same other.
    What is the user's to mend, as a damaged file is, becomes no record: it would be kept once the file is mended.

    Args:
        cases: The group.
        channel: Where messages go.
        checkpoints: Where cases that are `Resumable` are kept after each visit that wants more.
    """
    experiment = EXPERIMENTS[cases[0].experiment]
    visit_group = uuid.uuid4().hex[:12]
    spent = dict.fromkeys((case.case_id for case in cases), 0.0)
    order = random.Random(0)
    round_number = 0

    @contextlib.contextmanager
    def counted(case: Case) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            spent[case.case_id] += time.monotonic() - start

    def finish(case: Case, record: Record) -> None:
        own = {**record, "worker_s": spent[case.case_id], "visit_group": visit_group, "last_round": round_number}
        channel.send(Message("record", case.case_id, record=own))

    def failed(case: Case, error: Exception) -> None:
        status, reason = experiment.classify(error)
        finish(case, {"status": status, "reason": reason})

    def refuse(case: Case, error: UserError) -> None:
        channel.send(Message("refused", case.case_id, str(error)))

    active: list[tuple[Case, Measurement]] = []
    for case in cases:
        channel.send(Message("begin", case.case_id, "preparing"))
        try:
            with counted(case):
                active.append((case, _opened(case, channel, checkpoints)))
        except UserError as error:
            refuse(case, error)
            return
        except Exception as error:
            failed(case, error)
    while active:
        wanting = []
        order.shuffle(active)
        round_number += 1
        for case, measurement in active:
            channel.send(Message("begin", case.case_id, "measuring"))
            try:
                with counted(case):
                    wants_more = measurement.visit()
                    record = {} if wants_more else measurement.record()
            except UserError as error:
                refuse(case, error)
                return
            except Exception as error:
                failed(case, error)
                continue
            if wants_more:
                wanting.append((case, measurement))
                if isinstance(measurement, Resumable):
                    _save(case, measurement, channel, checkpoints)
            else:
                finish(case, record)
        active = wanting


def serve(channel: connection.Connection, memory_limit_bytes: int | None, checkpoints: Checkpoints) -> None:
    """Measure group after group until told to stop.

    Args:
        channel: Groups come in, messages go out.
        memory_limit_bytes: How much this process may allocate on the host beyond what it holds; None for no limit.
        checkpoints: The run's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    if memory_limit_bytes is not None:
        limit_own_memory(memory_limit_bytes)
    # What is imported stays: without this, each collection between two groups walks through all of torch.
    gc.freeze()
    with contextlib.suppress(BrokenPipeError, EOFError):
        while True:
            channel.send(Message("ready"))
            group = channel.recv()
            if group is None:
                return
            measure_group(group, channel, checkpoints)
            gc.collect()
