"""A results folder: its runs, each with one environment, and the lock of the one being written."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfc_bench.errors import UserError
from kfc_bench.results.fingerprint import FINGERPRINT, fingerprint, short_hash
from kfc_bench.results.journal import read_journal
from kfc_bench.results.schema import RETRIED, SCHEMA, Record

ENVIRONMENT = "environment.json"
JOURNAL = "journal.jsonl"
NEEDED = {"run_id", "env_id", "device_kind", *FINGERPRINT}


@dataclass(frozen=True)
class Run:
    """One run: everything in it was measured by the same code on the same device.

    Attributes:
        folder: Where its files lie.
        environment: Its environment record, with ``schema``, ``run_id`` and ``env_id``.
    """

    folder: Path
    environment: dict[str, Any]

    @property
    def run_id(self) -> str:
        """Name of the run, by the time it began."""
        return self.environment["run_id"]

    @property
    def journal(self) -> Path:
        """The run's journal."""
        return self.folder / JOURNAL

    def records(self) -> list[Record]:
        """Read the run's records, oldest first."""
        return read_journal(self.journal) if self.journal.exists() else []


def latest_by_case(records: list[Record]) -> dict[str, Record]:
    """Return the newest record of each case."""
    return {record["case_id"]: record for record in records}


def is_final(record: Record) -> bool:
    """Tell whether a record ends its case: a crash or time-out is tried once more."""
    return record["status"] not in RETRIED or record.get("attempt", 1) >= 2


def load_run(folder: Path) -> Run:
    """Read one run's environment.

    Args:
        folder: The run's own folder.

    Returns:
        The run.

    Raises:
        UserError: It was made by another schema version, or its environment record is damaged.
    """
    path = folder / ENVIRONMENT
    try:
        environment = json.loads(path.read_text())
        schema = environment["schema"]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: not an environment record: the file is damaged; move {folder} away") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if schema != SCHEMA:
        raise UserError(
            f"{path}: schema version {schema!r}, but this kfc-bench reads version {SCHEMA}; "
            "use another --results folder"
        )
    if missing := sorted(NEEDED - set(environment)):
        raise UserError(
            f"{path}: not an environment record, it lacks {', '.join(missing)}: the file is damaged; move {folder} away"
        )
    return Run(folder, environment)


def list_runs(root: Path) -> list[Run]:
    """List the runs in a results folder, oldest first.

    Args:
        root: The folder.

    Returns:
        Its runs; none if it does not exist.

    Raises:
        UserError: A run was made by another schema version, or its environment record is damaged.
    """
    return [load_run(path.parent) for path in sorted(root.glob(f"*/{ENVIRONMENT}"))]


def open_run(root: Path, environment: dict[str, Any], *, fresh: bool) -> tuple[Run, str]:
    """Find the run to go on with, or begin one.

    Args:
        root: The results folder.
        environment: This machine and code, from `kfc_bench.measure.environment.environment`.
        fresh: Begin a new run in any case.

    Returns:
        The run, and one line that says which it is and why.

    Raises:
        UserError: A run there cannot be read, or a new one cannot be written.
    """
    runs = list_runs(root)
    mine = fingerprint(environment)
    matching = [run for run in runs if fingerprint(run.environment) == mine]
    if matching and not fresh:
        run = matching[-1]
        return run, f"going on with run {run.run_id}"
    run_id = time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + short_hash(mine)[:6]
    while (root / run_id).exists():
        run_id += "+"
    folder = root / run_id
    described = {"schema": SCHEMA, "run_id": run_id, "env_id": short_hash(environment), **environment}
    _write_new(folder, json.dumps(described, indent=2) + "\n")
    if runs and not fresh:
        newest = fingerprint(runs[-1].environment)
        changed = ", ".join(key for key in mine if mine[key] != newest[key])
        return Run(folder, described), f"new run {run_id}: {changed} changed since run {runs[-1].run_id}"
    return Run(folder, described), f"new run {run_id}"


def add_run(root: Path, environment: dict[str, Any], records: list[Record]) -> tuple[Run, bool]:
    """Write a whole run that was measured elsewhere, unless it is there.

    Args:
        root: The results folder.
        environment: The run's environment record, with ``schema``, ``run_id`` and ``env_id``.
        records: Its records.

    Returns:
        The run, and whether it was written now.

    Raises:
        UserError: It cannot be written; then nothing of it is there.
    """
    folder = root / environment["run_id"]
    if (folder / ENVIRONMENT).exists():
        return load_run(folder), False
    shutil.rmtree(folder, ignore_errors=True)
    lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    _write_new(folder, json.dumps(environment, indent=2) + "\n", lines)
    return Run(folder, environment), True


def _write_new(folder: Path, environment: str, journal: str = "") -> None:
    """Make a run's folder, its environment last: a run that is listed has all of it."""
    try:
        folder.mkdir(parents=True)
        if journal:
            (folder / JOURNAL).write_text(journal)
        partial = folder / f"{ENVIRONMENT}.partial"
        partial.write_text(environment)
        partial.rename(folder / ENVIRONMENT)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"{folder}: {error.strerror}; make room, or name another folder with --results") from error


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold a results folder's lock, on the folder itself; the system lets it go when the process ends, however it does.

    Args:
        root: The folder; created if absent.

    Yields:
        Nothing.

    Raises:
        UserError: Another process holds it, or the folder cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UserError(f"{root}: {error.strerror}; name a folder that can be written with --results") from error
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{root}: another kfc-bench is writing to this folder; wait for it, or use another --results folder"
            ) from None
        yield
    finally:
        os.close(folder)
