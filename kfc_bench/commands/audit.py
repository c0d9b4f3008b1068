"""``kfc-bench audit``: which options each library gets right, against float64."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfc_bench.commands.console import TableFormat
from kfc_bench.errors import UserError


def audit(
    libraries: Annotated[
        list[str] | None,
        typer.Option("--library", help="kfc_bench, curvlinops, backpack, ...; repeatable, all if none."),
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", help="stride, circular, groups, ...; repeatable, all if none.")
    ] = None,
    format: Annotated[TableFormat, typer.Option(help="How to write the findings.")] = TableFormat.terminal,
    out: Annotated[Path | None, typer.Option(help="Write them there instead.")] = None,
    reproduce: Annotated[
        str | None, typer.Option(help="LIBRARY:OPTION; print the script behind that cell, and run nothing.")
    ] = None,
) -> None:
    """Ask K-FAC libraries about a layer's options: right, refused, or wrong without a word, against float64."""
    from kfc_bench.audit.document import document
    from kfc_bench.audit.run import audit as run_audit
    from kfc_bench.audit.run import chosen
    from kfc_bench.audit.script import script
    from kfc_bench.audit.table import matrix, to_csv
    from kfc_bench.report.files import write_text

    if reproduce is not None:
        if libraries or options or format != TableFormat.terminal:
            raise UserError("--reproduce LIBRARY:OPTION prints one script: it goes with --out alone")
        library, colon, option = reproduce.partition(":")
        if not colon:
            raise UserError(f"--reproduce {reproduce}: LIBRARY:OPTION is needed, such as curvlinops:circular")
        (one,), (asked,) = chosen([library], [option])
        if asked.needs in one.lacks:
            raise UserError(f"--reproduce {reproduce}: {one.title} cannot be asked: {one.lacks[asked.needs]}")
        text = script(one, asked)
    else:
        findings = run_audit(*chosen(libraries or [], options or []))
        if format == TableFormat.terminal:
            text = matrix(findings).to_text()
        else:
            text = document(findings) if format == TableFormat.markdown else to_csv(findings)
    if out is None:
        typer.echo(text, nl=False)
        return
    write_text(text, out)
    typer.echo(f"wrote {out}")
