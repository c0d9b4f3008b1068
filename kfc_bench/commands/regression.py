"""``kfc-bench regression``: the bench files of two revisions of any repository, compared in a pipeline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from kfc_bench.errors import UserError, UserInterrupt
from kfc_bench.regression.request import Request


class PassingOn(TyperCommand):
    """A command that leaves what follows ``--`` as it is, in ``ctx.obj``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Cut the words off at the first ``--``."""
        cut = args.index("--") if "--" in args else len(args)
        ctx.obj = args[cut + 1 :]
        return super().parse_args(ctx, args[:cut])


def regression(
    ctx: typer.Context,
    base: Annotated[str, typer.Argument(help="The git revision to compare with.")],
    head: Annotated[str, typer.Argument(help="The one to judge; . is the working tree.")],
    paths: Annotated[
        list[str] | None, typer.Argument(help="Bench files or folders; in KFC Bench's own checkout its suites if none.")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="slower, slower:5%, faster:5%, unclear, missing; repeatable, slower:5% if not given."),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Relative difference that does not matter.")] = Request.tolerance,
    sessions: Annotated[
        int | None, typer.Option(help="pytest sessions a side; what the number of benchmarks needs if not given.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time that a benchmark gets in one session.")] = Request.seconds,
    import_from: Annotated[
        list[str] | None,
        typer.Option(help="Folder of the checkout that imports come from; repeatable, . and src if not given."),
    ] = None,
    prepare: Annotated[
        str | None, typer.Option(help="Shell command to run once in each checkout, such as one that builds extensions.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Longest time of one session, in seconds.")] = Request.timeout_s,
    baselines: Annotated[
        Path | None, typer.Option(help="Folder of earlier medians by GPU model, to set beside the head's.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Add the head's medians to --baselines.")] = False,
    name: Annotated[
        str, typer.Option(help="Heads the comment, and tells it from another comparison's.")
    ] = Request.name,
    out: Annotated[Path, typer.Option(help="Where comment.md, comparison.csv and the sessions go.")] = Path(
        "regression"
    ),
) -> None:
    """Compare two revisions' benchmarks by pytest sessions in turn; what follows -- goes to pytest, as: -- -k conv."""
    from kfc_bench.regression.comparing import compare
    from kfc_bench.regression.outputs import COMMENT, clear, write_outputs
    from kfc_bench.report.comment import failure
    from kfc_bench.report.differences import to_table
    from kfc_bench.report.files import write_text
    from kfc_bench.report.verdicts import parse_policy
    from kfc_bench.runner.revisions import WORKING_TREE

    if not re.fullmatch(r"\w[\w .,()/+-]*", name) or "--" in name:
        raise UserError(f"--name {name!r}: letters, digits, spaces and . , ( ) / + - are taken")
    if not 0 <= tolerance < 1:
        raise UserError(f"--tolerance {tolerance}: a share from 0 to 1 is needed, {Request.tolerance} for 3 %")
    if seconds <= 0 or timeout <= 0 or (sessions is not None and sessions < 1):
        raise UserError("--seconds, --timeout and --sessions must be above 0")
    if keep and (baselines is None or head == WORKING_TREE):
        raise UserError("--keep adds a commit's medians to --baselines: name both a folder and a commit, such as HEAD")
    request = Request(
        base=base,
        head=head,
        paths=tuple(paths or ()),
        options=tuple(ctx.obj),
        policies=tuple(fail_on or Request.policies),
        tolerance=tolerance,
        sessions=sessions,
        seconds=seconds,
        imports=tuple(import_from or Request.imports),
        prepare=prepare,
        timeout_s=timeout,
        name=name,
        out=out.resolve(),
    )
    policies = [parse_policy(text) for text in request.policies]
    clear(request.out)
    try:
        outcome, rounds, setting = compare(request, policies, lambda line: typer.echo(line, err=True))
    except UserError as error:
        write_text(failure(name, str(error)), out / COMMENT)
        raise
    written = write_outputs(outcome, rounds, setting, out, baselines, keep=keep)
    table = to_table(outcome.first.differences, f"{head} (B) against {base} (A)")
    typer.echo(table.to_text(), nl=False)
    for path in written:
        typer.echo(f"wrote {path}", err=True)
    for test, reason in outcome.first.untimed.items():
        typer.echo(f"no time on either side: {test}: {reason}", err=True)
    if outcome.interrupted:
        raise UserInterrupt(f"interrupted: {outcome.rounds} rounds were compared, and their sessions are kept in {out}")
    for entry in outcome.unconfirmed:
        typer.echo(f"not confirmed by a second run: {entry.case_id} {entry.verdict}", err=True)
    for entry in outcome.failing:
        typer.echo(f"fails {', '.join(request.policies)}: {entry.case_id} {entry.verdict}", err=True)
    if outcome.failing:
        raise typer.Exit(1)
