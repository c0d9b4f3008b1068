"""The whole audit, each library in a process of its own: importing one can change how torch or another behaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.library import Library
from kfc_bench.audit.options import OPTIONS, Option
from kfc_bench.audit.verdicts import Finding, judge, without_running
from kfc_bench.errors import UserError
from kfc_bench.measure.sources import version

PLAIN = "plain"
LIMIT_S = 600


def chosen(libraries: Sequence[str], options: Sequence[str]) -> tuple[list[Library], list[Option]]:
    """Look up names.

    Args:
        libraries: Names of libraries; empty for all.
        options: Names of options; empty for all.

    Returns:
        The libraries and options, in the order of the tables.

    Raises:
        UserError: A name is unknown.
    """
    for kind, names, known in (("library", libraries, [*LIBRARIES]), ("option", options, [*OPTIONS])):
        for name in names:
            if name not in known:
                raise UserError(f"--{kind} {name}: no such {kind}; there are {', '.join(known)}")
    return (
        [library for name, library in LIBRARIES.items() if not libraries or name in libraries],
        [option for name, option in OPTIONS.items() if not options or name in options],
    )


def audit(libraries: Sequence[Library], options: Sequence[Option]) -> list[Finding]:
    """Ask every library about every option.

    Args:
        libraries: The libraries.
        options: The options.

    Returns:
        One finding per pair, library by library.
    """
    with ThreadPoolExecutor(max_workers=max(1, min(len(libraries), len(os.sched_getaffinity(0))))) as pool:
        return [finding for found in pool.map(lambda library: _of(library, options), libraries) for finding in found]


def _of(library: Library, options: Sequence[Option]) -> list[Finding]:
    torch = version("torch") or ""
    known = {option.name: without_running(library, option, torch) for option in options}
    asked = [option for option in options if known[option.name] is None]
    names = [PLAIN, *(option.name for option in asked if option.name != PLAIN)] if asked else []
    records = _records(library, names)
    return [
        known[option.name] or judge(library, option, records[option.name], records[PLAIN], torch) for option in options
    ]


def _records(library: Library, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Run a library's scripts; one that gave no answer has the reason under ``"failed"``."""
    if not names:
        return {}
    command = [sys.executable, "-m", "kfc_bench.audit.worker", library.name, *names]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
        output, lines = answer.stdout, answer.stderr.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        reason = f"the process ended with {answer.returncode}: {last}"
    except subprocess.TimeoutExpired as late:
        output, reason = late.stdout or b"", f"no answer within {LIMIT_S} s"
    whole = output.rpartition(b"\n")[0].split(b"\n")
    answered = [json.loads(line) for line in whole if line.startswith(b'{"option"')]
    silent = {name: {"option": name, "blocks": {}, "said": [], "exception": "", "failed": reason} for name in names}
    return silent | {record["option"]: record for record in answered}
