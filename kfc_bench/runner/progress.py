"""What is running, what remains, and for how long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from kfc_bench.runner.suite import Section

GUESS_S = 1.5
"""Seconds a case is expected to take before any of its section has finished."""


class RunProgress:
    """A progress bar over all sections, with an estimate from the seconds that finished cases took.

    Args:
        console: Where to draw.
        sections: The suite's sections, each with how many of its cases are finished already.
    """

    def __init__(self, console: Console, sections: Sequence[tuple[Section, int]]) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            BarColumn(bar_width=12),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[remains]}", table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
        )
        self._total = {section.name: section.plan.total for section, _ in sections}
        self._done = {section.name: done for section, done in sections}
        self._seconds: dict[str, list[float]] = {section.name: [] for section, _ in sections}
        self._last = time.monotonic()
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
