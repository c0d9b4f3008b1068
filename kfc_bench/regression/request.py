"""What a user asks ``kfc-bench regression`` for, and what it does unasked."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """The options of ``kfc-bench regression``.

    Attributes:
        base: Revision to compare with.
        head: Revision to judge.
        paths: Bench files and folders; empty for KFC Bench's own.
        options: For pytest.
        out: Folder of what is written, absolute.
        policies: What fails a build, as written.
        tolerance: Relative difference that does not matter.
        sessions: Sessions a side; None for as many as are needed.
        seconds: Time of a benchmark in one session.
        imports: Folders that imports come from.
        prepare: Shell command to run in each checkout; None for none.
        timeout_s: Longest time of one session.
        name: Heads the comment.
    """

    base: str
    head: str
    paths: tuple[str, ...]
    options: tuple[str, ...]
    out: Path
    policies: tuple[str, ...] = ("slower:5%",)
    tolerance: float = 0.03
    sessions: int | None = None
    seconds: float = 0.2
    imports: tuple[str, ...] = (".", "src")
    prepare: str | None = None
    timeout_s: float = 600.0
    name: str = "Benchmarks"

    def command(self, base: str, head: str) -> str:
        """Return what measures and judges two revisions in the same way."""
        words = ["kfc-bench", "regression", base, head, *self.paths]
        for option, own, usual in (
            ("--fail-on", self.policies, Request.policies),
            ("--import-from", self.imports, Request.imports),
        ):
            words += [f"{option}={value}" for value in own] if own != usual else []
        for option, value, usual_value in (
            ("--tolerance", self.tolerance, Request.tolerance),
            ("--seconds", self.seconds, Request.seconds),
            ("--sessions", self.sessions, Request.sessions),
            ("--prepare", self.prepare, Request.prepare),
        ):
            words += [f"{option}={value}"] if value != usual_value else []
        return shlex.join([*words, *(["--", *self.options] if self.options else [])])
