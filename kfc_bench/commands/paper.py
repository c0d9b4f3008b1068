"""``kfc-bench paper``: the paper's figures and tables beside results, and what to use when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def paper(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Results folders; those that come with KFC Bench if none.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The page; choosing.md and a folder of its pictures are written beside it.")
    ] = Path("docs/paper.md"),
) -> None:
    """Set the paper's figures and tables beside results, with verdicts made by rule, and say what to use when."""
    from kfc_bench.report.paper.evidence import gather
    from kfc_bench.report.paper.pages import write_pages
    from kfc_bench.resources import share

    for path in write_pages(gather(results or [share("results")]), out):
        typer.echo(f"wrote {path}")
