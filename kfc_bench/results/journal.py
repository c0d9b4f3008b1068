"""An append-only file of JSON lines that survives whatever ends its writer."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Self

from kfc_bench.errors import UserError
from kfc_bench.results.schema import SCHEMA, Record, check_record


class TornLineWarning(UserWarning):
    """The last line of a journal is incomplete: its writer was killed while writing it."""


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _whole_size(content: bytes) -> int:
    """Return how many bytes of a journal are whole lines; only the last line may be torn."""
    end = content.rfind(b"\n") + 1
    return len(content) if end < len(content) and _is_whole(content[end:]) else end


def read_journal(path: Path) -> list[Record]:
    """Read every record of a journal.

    A torn last line is left out with a `TornLineWarning`.

    Args:
        path: The journal.

    Returns:
        Its records, oldest first.

    Raises:
        UserError: The file cannot be read, a line before the last is no record, or a record has another schema version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    whole = _whole_size(content)
    if whole < len(content):
        warnings.warn(
            f"{path}: the last line is torn and left out; its case will be measured again",
            TornLineWarning,
            stacklevel=2,
        )
    records = []
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            record = json.loads(line)
            schema = record["schema"]
        except (ValueError, TypeError, KeyError):
            raise UserError(
                f"{path}:{number}: not a record of a journal: the file is damaged; "
                "delete that line to keep the others, or use --fresh for a new run"
            ) from None
        if schema != SCHEMA:
            raise UserError(
                f"{path}:{number}: schema version {schema!r}, but this kfc-bench reads version {SCHEMA}; "
                "use another --results folder"
            )
        try:
            check_record(record)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}:{number}: damaged record: {error}; delete that line, or use --fresh for a new run"
            ) from None
        records.append(record)
    return records


class Journal:
    """Appends records, each flushed to the disk before the next begins.

    Args:
        path: The file; created if absent. A torn last line is cut off first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("ab", buffering=0)
            content = path.read_bytes()
            whole = _whole_size(content)
            if whole < len(content):
                os.truncate(path, whole)
            elif content and not content.endswith(b"\n"):
                self._file.write(b"\n")
        except OSError as error:
            raise UserError(f"{path}: cannot be opened to write records: {error.strerror}") from error

    def append(self, record: Record) -> None:
        """Write one record.

        Args:
            record: A record that `check_record` passes.

        Raises:
            UserError: The disk is full, or the file cannot be written; earlier records are intact.
        """
        check_record(record)
        line = memoryview(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(
                f"{self.path}: {error.strerror}; every record before is kept: make room and run again to go on"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
