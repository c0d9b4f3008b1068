"""``kfc-bench summary``: the tables of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def summary(
    results: Annotated[list[Path], typer.Argument(help="Results folders.")],
    markdown: Annotated[bool, typer.Option(help="Print Markdown.")] = False,
) -> None:
    """Print the summary tables of results."""
    from kfc_bench.report.summary import print_summary, tables
    from kfc_bench.results.frames import load_results

    frames = load_results(results)
    if markdown:
        for table in tables(frames):
            typer.echo(table.to_markdown())
        return
    print_summary(frames, Console())
