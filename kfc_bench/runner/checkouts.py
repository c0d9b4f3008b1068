"""Two git revisions measured in one run, visit by visit in turn."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from rich.console import Console

from kfc_bench.errors import UserError
from kfc_bench.experiments import EXPERIMENTS, Case
from kfc_bench.measure.paired import PairedRatio
from kfc_bench.results.schema import Record
from kfc_bench.runner.filters import Filter, matches
from kfc_bench.runner.progress import RunProgress
from kfc_bench.runner.revisions import checked_out, top_of
from kfc_bench.runner.suite import load_suite

START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Rounds:
    """When two revisions of a case have been visited often enough.

    Attributes:
        half_width: Target half-width of the ratio's 95 % interval, as a share of the ratio.
        least: Rounds before the target may count; with 20, one case among 200 can still be told apart.
        most: Rounds at the most.
        seconds: Wall clock for a case's rounds at the most, once ``least`` are done.
    """

    half_width: float = 0.01
    least: int = 20
    most: int = 60
    seconds: float = 20.0

    def enough(self, a: list[float], b: list[float], spent_s: float) -> bool:
        """Tell whether to stop."""
        if len(a) < self.least:
            return False
        if len(a) >= self.most or spent_s >= self.seconds:
            return True
        paired = PairedRatio(a, b)
        interval = paired.interval()
        return interval is not None and interval[1] - interval[0] <= 2 * self.half_width * paired.ratio


class Side:
    """One revision's process; started anew after a crash or a time-out.

    Args:
        name: The revision, for messages.
        folder: Its checkout.
        suite: The suite file, the same for both.
        device: ``"cpu"`` or ``"cuda"``.
    """

    def __init__(self, name: str, folder: Path, suite: Path, device: str) -> None:
        self._name, self._folder, self._suite, self._device = name, folder, suite, device
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, timeout_s: float, **message: Any) -> dict[str, Any]:
        """Send a message and wait for the answer.

        Args:
            timeout_s: Seconds to wait.
            message: See `kfc_bench.runner.visitor`.

        Returns:
            The answer; a record of status ``crashed`` or ``timeout`` if none came.
        """
        if self._process is None:
            self._start()
        try:
            self._send.send_bytes(json.dumps(message).encode())
            if not self._receive.poll(timeout_s):
                self.stop()
                return {"record": {"status": "timeout", "reason": f"no sign of life for {timeout_s:g} s"}}
            return json.loads(self._receive.recv_bytes())
        except (EOFError, ConnectionError):
            return {"record": {"status": "crashed", "reason": self._obituary()}}

    def _obituary(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        self._last_words.seek(0)
        words = self._last_words.read().decode(errors="replace").strip().splitlines()
        self.stop()
        return f"its process ended with exit code {code}" + (f": {words[-1]}" if words else "")

    def _start(self) -> None:
        self._last_words = tempfile.TemporaryFile()  # noqa: SIM115
        their_in, our_out = os.pipe()
        our_in, their_out = os.pipe()
        self._send, self._receive = connection.Connection(our_out), connection.Connection(our_in)
        module = [sys.executable, "-m", "kfc_bench.runner.visitor"]
        self._process = subprocess.Popen(
            [*module, str(self._suite), self._device, str(their_in), str(their_out)],
            cwd=self._folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(self._folder), str(self._folder / "kernels")]),
                "TORCH_CPP_LOG_LEVEL": "ERROR",
            },
            pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL,
            stdout=self._last_words,
            stderr=self._last_words,
        )
        os.close(their_in)
        os.close(their_out)

    def cases(self) -> list[list[str]]:
        """List its cases.

        Returns:
            Pairs of label and ``case_id``, in the order of the suite file.

        Raises:
            UserError: The revision cannot take part.
        """
        answer = self.ask(START_TIMEOUT_S, do="list")
        if "error" in answer:
            raise UserError(f"revision {self._name!r} does not read {self._suite}: {answer['error']}")
        if "cases" not in answer:
            raise UserError(
                f"revision {self._name!r} cannot be compared: {answer['record']['reason']}; "
                "it must not be older than `kfc-bench compare --checkout` itself"
            )
        if not Path(answer["file"]).is_relative_to(self._folder.resolve()):
            raise UserError(f"revision {self._name!r}: {answer['file']} would be measured instead of {self._folder}")
        return answer["cases"]

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._send.close()
            self._receive.close()
            self._last_words.close()
            self._process = None


def compare_case(index: int, case: Case, sides: Sequence[Side], rounds: Rounds, order: random.Random) -> list[Record]:
    """Measure one case on both sides in turn, each round in random order.

    Args:
        index: The case's place in the suite.
        case: The case.
        sides: Both revisions.
        rounds: When to stop.
        order: Source of the order.

    Returns:
        Both records, with the visits of the rounds that both took.
    """
    ended: dict[int, Record] = {}
    for place in order.sample((0, 1), 2):
        answer = sides[place].ask(case.timeout_s, do="open", index=index)
        if "record" in answer:
            ended[place] = answer["record"]
    medians: tuple[list[float], list[float]] = ([], [])
    if len(ended) == 1:
        # The other side has a time all the same, so that the case is seen to be broken or mended.
        (place,) = {0, 1} - set(ended)
        answer = sides[place].ask(case.timeout_s, do="visit")
        if "record" in answer:
            ended[place] = answer["record"]
    start = time.monotonic()
    while not ended and not rounds.enough(*medians, time.monotonic() - start):
        for place in order.sample((0, 1), 2):
            answer = sides[place].ask(case.timeout_s, do="visit")
            if "record" in answer:
                ended[place] = answer["record"]
                break
            medians[place].append(answer["seconds"])
    group = uuid.uuid4().hex[:12]
    records = []
    for place, side in enumerate(sides):
        record = ended.get(place) or side.ask(case.timeout_s, do="close")["record"]
        if record["status"] == "ok":
            record["visit_medians_s"] = medians[place]
        own = {"case_id": case.case_id, "visit_group": group, "last_round": len(medians[place])}
        records.append({**case.columns(), **record, **own})
    return records


def compare_checkouts(
    suite: Path,
    revisions: Sequence[str],
    device: str | None,
    filters: Sequence[Filter],
    console: Console,
    rounds: Rounds | None = None,
) -> Iterator[list[Record]]:
    """Measure a suite's cases on two revisions in one run.

    Args:
        suite: The suite file; both revisions read this one.
        revisions: Two, as `checked_out` takes them.
        device: Overrides the suite's.
        filters: Only cases that match all of them.
        console: Where progress is shown.
        rounds: When to stop a case.

    Yields:
        Both records of each case, as soon as it is done.

    Raises:
        UserError: It is no checkout of KFC Bench, a revision cannot take part, or both read the suite differently.
    """
    loaded = load_suite(suite, device)
    cases = [case for section in loaded.sections for case in section.plan.due({})]
    wanted = [
        (index, case)
        for index, case in enumerate(cases)
        if EXPERIMENTS[case.experiment].visited and matches(case.columns(), filters)
    ]
    if not wanted:
        raise UserError(f'{suite}: no case to compare; only what is measured in visits can be, as in kind = "cost"')
    top = top_of(Path.cwd())
    if top is None or not (top / "kfc_bench").is_dir():
        raise UserError(f"{Path.cwd()}: not a git checkout of KFC Bench; --checkout is run inside one")
    order = random.Random(0)
    with contextlib.ExitStack() as stack:
        sides = []
        for revision in revisions:
            folder = stack.enter_context(checked_out(revision, top))
            side = Side(revision, folder, suite.resolve(), loaded.device)
            stack.callback(side.stop)
            sides.append(side)
        for revision, side in zip(revisions, sides, strict=True):
            if [label for label, _ in side.cases()] != [case.label for case in cases]:
                raise UserError(f"revision {revision!r} finds other cases in {suite} than this checkout does")
        progress = stack.enter_context(RunProgress(console, {loaded.name: (len(wanted), 0)}))
        for index, case in wanted:
            progress.running(case.label)
            pair = compare_case(index, case, sides, rounds or Rounds(), order)
            progress.finished(loaded.name)
            yield pair
