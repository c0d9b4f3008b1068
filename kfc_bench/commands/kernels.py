"""``kfc-bench kernels``: what Triton kernels need, compiled without a GPU."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from kfc_bench.commands.console import TableFormat, say
from kfc_bench.errors import UserError


def kernels(
    targets: Annotated[
        list[str] | None, typer.Option("--target", help="sm_80, sm_90, sm_100, gfx942; repeatable, all if not given.")
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", help="operator=, kernel=, layer=, products= or target=value[,value]; repeatable."),
    ] = None,
    format: Annotated[TableFormat, typer.Option(help="How to print the table.")] = TableFormat.terminal,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the committed snapshot: exit code 1 if a row got worse.")
    ] = False,
    update: Annotated[bool, typer.Option("--update", help="Write the snapshot of this version of triton.")] = False,
) -> None:
    """Compile every Triton kernel for GPUs that need not be here: registers, spills, matrix instructions, occupancy."""
    from kfc_bench.report.files import write_text
    from kfc_bench.report.static import KEY, compiling_triton, records, render, static_frame
    from kfc_bench.report.static_gate import judge, read_snapshot, snapshot_path, snapshot_text, snapshot_versions
    from kfc_bench.runner.filters import Filter, matches, parse_filter

    wanted = [parse_filter(text, KEY) for text in filters or []]
    wanted += [Filter("target", tuple(targets))] if targets else []
    if update and (check or wanted):
        raise UserError("--update writes the whole snapshot: it goes with neither --check nor --target nor --filter")
    version = compiling_triton()
    snapshot = snapshot_path(version)
    console = Console()
    if check and not snapshot.exists():
        there = ", ".join(snapshot_versions()) or "no version"
        say(console, f"skipped: the snapshot is of triton {there}, and this is {version}; --update writes one of it")
        return
    frame = static_frame(lambda columns: matches(columns, wanted))
    if update:
        write_text(snapshot_text(frame), snapshot)
        say(console, f"wrote {snapshot}: {len(frame)} rows")
        return
    if not check:
        typer.echo(render(frame, format.value), nl=False)
        return
    before = read_snapshot(snapshot)
    lines = judge(before[[matches(row, wanted) for row in records(before)]], frame)
    for line in lines:
        say(console, line)
    if lines:
        say(console, f"{len(lines)} of {len(frame)} rows are worse than {snapshot.name}; --update accepts them")
        raise typer.Exit(1)
    say(console, f"{len(frame)} rows are no worse than {snapshot.name}")
