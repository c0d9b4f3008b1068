"""What commands print with."""

from __future__ import annotations

from enum import StrEnum

from rich.console import Console


class TableFormat(StrEnum):
    """How a command prints its tables."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"


def say(console: Console, line: str) -> None:
    """Print a line as it is: not wrapped, so that what reads it finds a path whole."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)
