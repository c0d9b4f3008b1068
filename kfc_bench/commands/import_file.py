"""``kfc-bench import``: pytest-benchmark's files as results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_file(
    file: Annotated[Path, typer.Argument(help="What pytest --benchmark --benchmark-json=FILE wrote.")],
    results: Annotated[Path | None, typer.Option(help="Where results go; results/FILE if not given.")] = None,
) -> None:
    """Bring what pytest --benchmark measured into a results folder; each device's below its name."""
    from kfc_bench.results.benchmarks import read_benchmarks
    from kfc_bench.results.run import add_run, locked

    found = read_benchmarks(file)
    root = results or Path("results") / file.stem
    for run in found.runs:
        folder = root / run.environment["device_kind"]
        with locked(folder):
            added, new = add_run(folder, run.environment, run.records)
        typer.echo(f"{added.folder}: {'imported' if new else 'was imported before'}; records: {len(run.records)}")
    if found.foreign:
        typer.echo(f"left out, not KFC Bench's: {found.foreign}")
    if found.without_rounds:
        typer.echo(f"records without their visits: {found.without_rounds}; --benchmark-save-data keeps them")
    typer.echo(f"next: kfc-bench summary {root}")
