"""``kfc-bench compare``: verdicts on two runs or revisions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kfc_bench.commands.console import TableFormat, say
from kfc_bench.errors import UserError, UserInterrupt

if TYPE_CHECKING:
    from kfc_bench.results.schema import Record


def compare(
    a: Annotated[str, typer.Argument(help="Results folder or run; with --checkout a git revision.")],
    b: Annotated[str, typer.Argument(help="The same for B; with --checkout . is the working tree.")],
    checkout: Annotated[bool, typer.Option(help="A and B are git revisions, measured now and in turn.")] = False,
    suite: Annotated[
        str | None, typer.Option(help="With --checkout: a suite that comes along or a .toml file; bench if not given.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="With --checkout: auto, cpu or cuda.")] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help="With --checkout: key=value[,value], repeatable.")
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help="With --checkout: keep both records of each case, visits included (JSON lines).")
    ] = None,
    past: Annotated[
        list[Path] | None, typer.Option("--history", help="More results folders with repeated runs; repeatable.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Relative difference that does not matter; 0.03 if not given.")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="slower, slower:5%, faster:5%, unclear, missing: exit code 1; repeatable."),
    ] = None,
    format: Annotated[TableFormat, typer.Option(help="How to print the table.")] = TableFormat.terminal,
    out: Annotated[Path | None, typer.Option(help="Write the table there instead.")] = None,
) -> None:
    """Compare B with A: SAME, FASTER, SLOWER or UNCLEAR for every case, with its interval."""
    from kfc_bench.report.differences import count_line, differences, failing, render
    from kfc_bench.report.files import append_text, write_text
    from kfc_bench.report.history import between_runs
    from kfc_bench.report.stored import changed, find_run, history
    from kfc_bench.report.verdicts import TOLERANCE, parse_policy
    from kfc_bench.results.run import latest_by_case
    from kfc_bench.runner.filters import parse_filter

    policies = [parse_policy(text) for text in fail_on or []]
    limit = TOLERANCE if tolerance is None else tolerance
    if not 0 <= limit < 1:
        raise UserError(f"--tolerance {limit}: a share from 0 to 1 is needed, 0.03 for 3 %")
    errors = Console(stderr=True)
    between, interrupted = None, False
    if checkout:
        from kfc_bench.runner.checkouts import compare_checkouts
        from kfc_bench.runner.suite import find_suite

        if past:
            raise UserError("--history goes with stored runs; --checkout measures both in turn and needs none")
        wanted = [parse_filter(text) for text in filters or []]
        sides: list[dict[str, Record]] = [{}, {}]
        if records is not None:
            write_text("", records)
        try:
            for old, new in compare_checkouts(find_suite(suite or "bench"), (a, b), device, wanted, errors):
                sides[0][old["case_id"]], sides[1][new["case_id"]] = old, new
                if records is not None:
                    append_text(json.dumps({"a": old, "b": new}) + "\n", records)
        except KeyboardInterrupt:
            interrupted = True
    else:
        if filters or records or device or suite:
            raise UserError("--suite, --filter, --device and --records go with --checkout; stored runs are as they are")
        runs = [find_run(Path(path), "to compare git revisions, add --checkout") for path in (a, b)]
        if runs[0].folder.resolve() == runs[1].folder.resolve():
            raise UserError(f"{a} and {b} are the same run, {runs[0].run_id}; name another run's folder")
        between = between_runs(history([Path(a), Path(b), *(past or [])], without=runs[1]))
        for line in changed(*runs):
            say(errors, f"differs: {line}")
        sides = [latest_by_case(run.records()) for run in runs]
    found = differences(sides[0], sides[1], between, limit)
    text = render(found, f"{b} against {a}", format.value)
    if out is not None:
        write_text(text, out)
        say(errors, f"wrote {out}")
    else:
        typer.echo(text, nl=False)
    say(errors, count_line(found))
    if interrupted:
        raise UserInterrupt(f"interrupted: {len(found)} cases were compared")
    if policies and all(difference.ratio is None for difference in found):
        raise UserError(f"no case has a time in both {a} and {b}: there is nothing that --fail-on could judge")
    failed = failing(found, policies)
    if failed:
        say(errors, f"{len(failed)} of {len(found)} cases fail the policy {', '.join(fail_on or [])}")
        raise typer.Exit(1)
