"""``kfc-bench choices``: what "auto" picks, judged by times."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kfc_bench.errors import UserError


def choices(
    results: Annotated[list[Path], typer.Argument(help="Results folders, such as those of: kfc-bench run dispatch.")],
    fit: Annotated[bool, typer.Option(help="Print the rates that fit these times best.")] = False,
    markdown: Annotated[bool, typer.Option(help="Print Markdown.")] = False,
) -> None:
    """Judge "auto": what it chooses for each layer, beside what was fastest."""
    from kfc_bench.report.choices import choice_table, fitted
    from kfc_bench.report.choices import choices as judged
    from kfc_bench.report.tables import device_badge
    from kfc_bench.results.frames import load_results

    frames = load_results(results)
    found = judged(frames.cost)
    if not found:
        raise UserError(f"{results[0]}: no layer on which two of our input factors were timed; kfc-bench run dispatch")
    table = choice_table(found, device_badge(frames))
    if markdown:
        typer.echo(table.to_markdown())
    else:
        Console().print(table.to_rich())
    for name, rates in sorted(fitted(found).items()) if fit else ():
        typer.echo(f"{name}: {rates.flops:.3g} FLOP/s, {rates.bytes:.3g} B/s, {rates.call:.2g} s a call")
