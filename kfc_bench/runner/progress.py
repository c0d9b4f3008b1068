"""What is running, what remains, and for how long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

GUESS_S = 1.5
"""Seconds a case is expected to take before any of its section has finished."""

LINE_EVERY_S = 20.0
"""Seconds between lines where there is no terminal to draw a bar in."""


class RunProgress:
    """A progress bar over all sections, with an estimate from the seconds that finished cases took.

    Args:
        console: Where to draw.
        sections: By name of the section, how many cases it has and how many are finished already.
    """

    def __init__(self, console: Console, sections: Mapping[str, tuple[int, int]]) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            BarColumn(bar_width=12),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[remains]}", table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
        )
        self._total = {name: total for name, (total, _) in sections.items()}
        self._done = {name: done for name, (_, done) in sections.items()}
        self._seconds: dict[str, list[float]] = {name: [] for name in sections}
        self._last = self._line = time.monotonic()
        self._task = self._bar.add_task(
            "starting", total=sum(self._total.values()), completed=sum(self._done.values()), remains=self._remains()
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def _remains(self) -> str:
        seconds = 0.0
        for name, total in self._total.items():
            finished = self._seconds[name]
            each = sum(finished) / len(finished) if finished else GUESS_S
            seconds += max(0, total - self._done[name]) * each
        minutes, rest = divmod(round(seconds), 60)
        return f"about {minutes} min {rest:02d} s left" if minutes else f"about {rest} s left"

    def running(self, label: str) -> None:
        """Show what runs now."""
        self._bar.update(self._task, description=label, remains=self._remains())
        if not self._bar.console.is_terminal and time.monotonic() - self._line > LINE_EVERY_S:
            self._line = time.monotonic()
            self.note(f"{sum(self._done.values())} of {sum(self._total.values())}, {self._remains()}: {label}")

    def finished(self, section: str) -> None:
        """Count one finished case of a section."""
        now = time.monotonic()
        self._seconds[section].append(now - self._last)
        self._last = now
        self._done[section] += 1
        self._bar.update(self._task, advance=1, total=sum(self._total.values()), remains=self._remains())

    def note(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
