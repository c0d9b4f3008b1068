"""``kfc-bench report``: a run explained in Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[Path, typer.Argument(help="A results folder, for its newest run, or one run's own folder.")],
    out: Annotated[Path | None, typer.Option(help="The file; report.md in the folder if not given.")] = None,
) -> None:
    """Write a report of a run for someone who knows nothing of the code, in Markdown."""
    from kfc_bench.report.document import REPORT, write_report
    from kfc_bench.report.stored import find_run
    from kfc_bench.results.frames import run_frames

    path = out or results / REPORT
    run = find_run(results)
    write_report(run, run_frames(run), path)
    typer.echo(f"wrote {path}")
