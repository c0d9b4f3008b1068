"""``kfc-bench export``: tidy files from results."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kfc_bench.errors import UserError


class Format(StrEnum):
    """What `export` can write."""

    csv = "csv"


def export(
    results: Annotated[list[Path], typer.Argument(help="Results folders.")],
    format: Annotated[Format, typer.Option(help="What to write.")] = Format.csv,  # noqa: ARG001
    out: Annotated[Path | None, typer.Option(help="Where to; the first results folder if not given.")] = None,
    every_run: Annotated[bool, typer.Option(help="All runs of a folder, not only its newest.")] = False,
) -> None:
    """Write tidy CSV files, and comparison.csv, the wide one for papers."""
    from kfc_bench.report.export import export_csv
    from kfc_bench.results.frames import load_results

    frames = load_results(results, every_run=every_run)
    if frames.is_empty:
        raise UserError(f"{results[0]}: no records in it; make some with: kfc-bench run quickstart")
    for path in export_csv(frames, out or results[0]):
        typer.echo(f"wrote {path}")
