"""What the runner asks of an experiment; it knows no more of one than this."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from kfc_bench.experiments.table import Table
from kfc_bench.results.schema import Record


class Case(ABC):
    """One thing to measure; picklable, so that it can travel to a worker."""

    experiment: str
    timeout_s: float
    memory_limit_bytes: int | None

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Return what identifies the case, as plain JSON values."""

    @abstractmethod
    def columns(self) -> dict[str, Any]:
        """Return the record columns that are known before measuring."""

    @property
    @abstractmethod
    def group(self) -> str:
        """Name of the comparison group: its cases are visited in turn."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Say in a few words what is measured, for the progress bar."""

    @property
    def case_id(self) -> str:
        """Hash of the case's parameters."""
        text = json.dumps([self.experiment, self.parameters()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Measurement(Protocol):
    """A case under way in a worker."""

    def visit(self) -> bool:
        """Measure a little more; return whether more is wanted."""

    def record(self) -> Record:
        """Return the record's columns beyond the case's own, ``status`` among them."""


@runtime_checkable
class Visited(Measurement, Protocol):
    """A measurement whose visits are bursts of one call: two of them can be compared visit by visit."""

    @property
    def visit_medians(self) -> list[float]:
        """Each visit's median so far, in seconds."""


@runtime_checkable
class Resumable(Measurement, Protocol):
    """A measurement that can be laid down between two visits, and taken up by another of the same case."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that the rest of it depends on, as ``torch.load(weights_only=True)`` reads it."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned, before the first visit."""


class Plan(Protocol):
    """A section of a suite file, turned into cases."""

    @property
    def total(self) -> int:
        """How many cases there will be in the end."""

    def due(self, records: Mapping[str, Record]) -> Sequence[Case]:
        """Return every case known so far, given the final records by ``case_id``.

        A plan whose later cases depend on earlier results returns more as results come in.
        """


@dataclass(frozen=True)
class KnownCases:
    """A plan whose cases are all known from the start."""

    cases: tuple[Case, ...]

    @property
    def total(self) -> int:
        """Number of cases."""
        return len(self.cases)

    def due(self, records: Mapping[str, Record]) -> Sequence[Case]:  # noqa: ARG002
        """Return all cases."""
        return self.cases


@dataclass(frozen=True)
class Experiment:
    """A kind of measurement.

    Attributes:
        visited: Whether its measurements are `Visited`, so that two revisions can be compared by them.
        parse: Turns a section of a suite file into a plan for a device; raises `UserError` for a bad one.
        open: Prepares a case in a worker: inputs, correctness, warm-up. May raise whatever goes wrong.
        classify: Turns an exception from a measurement into a status and a reason.
    """

    visited: bool
    parse: Callable[[Table, str], Plan]
    open: Callable[[Any], Measurement]
    classify: Callable[[Exception], tuple[str, str]]
