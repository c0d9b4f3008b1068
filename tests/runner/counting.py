"""An experiment that counts its visits, for tests of going on; a worker learns of it as it unpickles its cases."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import astuple, dataclass

import torch

from kfc_bench.errors import UserError
from kfc_bench.experiments import EXPERIMENTS, Case, Experiment

NAME = "counting"
COLUMNS = ("label", "total", "here", "status", "reason")
TOTAL, FATAL = 4, 3
"""Visits that a case wants in all, and the one that its fate awaits in the worker that began it."""
REFUSAL = "set.tar.gz: is damaged; get it again"


@dataclass(frozen=True)
class CountingCase(Case):
    """Counts to `TOTAL`, and ``dies``, ``waits`` or ``is refused`` on the way."""

    name: str
    fate: str | None = None
    timeout_s: float = 60.0
    memory_limit_bytes: int | None = None
    experiment = NAME
    group = "counting"

    def parameters(self):
        return {"name": self.name}

    def columns(self):
        return {"label": self.label}

    @property
    def label(self):
        return self.name

    def __reduce__(self):
        return _known_here, astuple(self)


class Counting:
    """Counts visits: all, and those in this worker."""

    def __init__(self, case):
        self._case, self._count, self._here = case, torch.zeros((), dtype=torch.int64), 0

    def visit(self):
        self._here += 1
        if self._here == FATAL and self._case.fate == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._here == FATAL and self._case.fate == "waits":
            time.sleep(60)
        if self._here == FATAL and self._case.fate == "is refused":
            raise UserError(REFUSAL)
        self._count += 1
        return int(self._count) < TOTAL

    def record(self):
        return {"status": "ok", "total": int(self._count), "here": self._here}


class ResumableCounting(Counting):
    """Goes on from another's count."""

    def state_dict(self):
        return {"count": self._count}

    def load_state_dict(self, state):
        self._count = state["count"]


def _open(case):
    if case.fate == "cannot be opened":
        raise UserError(REFUSAL)
    return ResumableCounting(case)


COUNTING = Experiment(
    visited=False,
    parse=lambda *_: None,
    open=_open,
    classify=lambda error: ("crashed", str(error)),
)


def _known_here(*fields):
    EXPERIMENTS[NAME] = COUNTING
    return CountingCase(*fields)
