"""A process that measures when it is asked to, visit by visit, so that two revisions can take turns.

It runs in the revision's own checkout and talks JSON over a pipe: the words below must stay as they are, or older
revisions cannot be compared with newer ones.

    {"do": "list"}                 -> {"file": "...", "cases": [["label", "case_id"], ...]}
    {"do": "open", "index": 3}     -> {"open": true}, or {"record": {...}} if the case ended before its first visit
    {"do": "visit"}                -> {"seconds": 0.012}, or {"record": {...}} if it failed
    {"do": "close"}                -> {"record": {...}}
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from multiprocessing import connection
from pathlib import Path
from typing import Any

import kfc_bench
from kfc_bench.errors import UserError
from kfc_bench.experiments import EXPERIMENTS, Case, Measurement, Visited
from kfc_bench.runner.suite import load_suite


class Session:
    """The cases of a suite, at most one of them open.

    Args:
        cases: In the order of the suite file.
    """

    def __init__(self, cases: list[Case]) -> None:
        self._cases = cases
        self._case = cases[0] if cases else None
        self._measurement: Measurement | None = None

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Do what a message says; whatever a case raises becomes its record."""
        if message["do"] == "list":
            return {"file": kfc_bench.__file__, "cases": [[case.label, case.case_id] for case in self._cases]}
        if message["do"] == "open":
            self._case = self._cases[message["index"]]
        assert self._case is not None
        experiment = EXPERIMENTS[self._case.experiment]
        try:
            if message["do"] == "open":
                self._measurement = None
                self._measurement = experiment.open(self._case)
                visited = isinstance(self._measurement, Visited)
                return {"open": True} if visited else {"record": self._measurement.record()}
            assert isinstance(self._measurement, Visited)
            if message["do"] == "visit":
                self._measurement.visit()
                return {"seconds": self._measurement.visit_medians[-1]}
            record = self._measurement.record()
            self._measurement = None
        except Exception as error:
            self._measurement = None
            status, reason = experiment.classify(error)
            record = {"status": status, "reason": reason}
        return {"record": record}


def main() -> None:
    """Serve the suite file and device given as arguments over the pipe whose two ends follow them."""
    file, device, incoming, outgoing = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    receive, send = connection.Connection(int(incoming)), connection.Connection(int(outgoing))
    try:
        suite = load_suite(Path(file), device)
    except UserError as error:
        send.send_bytes(json.dumps({"error": str(error)}).encode())
        return
    session = Session([case for section in suite.sections for case in section.plan.due({})])
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            send.send_bytes(json.dumps(session.answer(json.loads(receive.recv_bytes()))).encode())


if __name__ == "__main__":
    main()
