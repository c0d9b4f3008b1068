"""What a run was asked to measure and how far it got: what its records alone cannot say."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from kfc_bench.errors import UserError
from kfc_bench.results.run import Run

SESSION = "session.json"

Ending = Literal["cut off", "complete", "time limit", "interrupted"]


@dataclass(frozen=True)
class Session:
    """The newest session of a run.

    Attributes:
        suite: The suite's name.
        variant: Its variant, or None.
        command: What was typed, without the results folder.
        began: When, in UTC.
        seconds: How long the run took so far, earlier sessions included.
        time_limit_s: The suite's limit, or None.
        ended: ``complete``, ``time limit``, ``interrupted``; ``cut off`` until the end has been written.
        sections: By name, how many cases were asked for and how many are finished.
        circumstances: What decided which cases there were and whether finished ones count
            (`kfc_bench.results.finished.circumstances`); None where filters left some out.
    """

    suite: str
    variant: str | None
    command: str
    began: str
    seconds: float
    time_limit_s: float | None
    ended: Ending
    sections: dict[str, tuple[int, int]]
    circumstances: str | None = None

    @property
    def not_reached(self) -> int:
        """How many cases have no final record."""
        return sum(total - finished for total, finished in self.sections.values())


def write_session(run: Run, session: Session) -> None:
    """Write it beside the run's journal.

    Args:
        run: The run.
        session: The session.

    Raises:
        UserError: It cannot be written.
    """
    path = run.folder / SESSION
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(json.dumps(asdict(session), indent=2) + "\n")
        partial.rename(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(
            f"{path}: {error.strerror}; every record before is kept: make room and run again to go on"
        ) from error


def read_session(folder: Path) -> Session | None:
    """Read a run's newest session.

    Args:
        folder: The run's folder.

    Returns:
        The session; None where the run has none, as one that was imported.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / SESSION
    try:
        values = json.loads(path.read_text())
        sections = {name: (total, finished) for name, (total, finished) in values.pop("sections").items()}
        return Session(**values, sections=sections)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path}: not a session record: the file is damaged; delete it to go on without") from None
