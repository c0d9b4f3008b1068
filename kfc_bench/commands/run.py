"""``kfc-bench run``: measure a suite."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kfc_bench.commands.console import say
from kfc_bench.errors import UserError, UserInterrupt

if TYPE_CHECKING:
    from kfc_bench.results.run import Run


def run(
    suite: Annotated[str, typer.Argument(help="A suite that comes along (quickstart, peers, layers, ...) or a .toml.")],
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda; overrides the suite's.")] = None,
    variant: Annotated[
        str | None, typer.Option(help="Which of the suite's variants; the device's own if not given.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Where results go; results/SUITE, or results/SUITE-VARIANT, if not given.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where data sets lie; KFC_BENCH_DATA if not given.")
    ] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help="key=value[,value]: only such cases; repeatable.")
    ] = None,
    list_cases: Annotated[bool, typer.Option("--list", help="List the cases and stop.")] = False,
    fresh: Annotated[bool, typer.Option(help="Begin a new run even if one could be gone on with.")] = False,
    csv: Annotated[bool, typer.Option("--csv/--no-csv", help="Write CSV files too.")] = True,
) -> None:
    """Measure a suite, keeping every finished record; run it again to go on."""
    from kfc_bench.problems.places import VARIABLE, data_folder
    from kfc_bench.results.finished import circumstances, finished_run

    if data is not None:
        # Workers inherit it.
        os.environ[VARIABLE] = str(data_folder(data, "--data"))
    console = Console()
    root = results or Path("results") / (Path(suite).stem if variant is None else f"{Path(suite).stem}-{variant}")
    now = None if filters else circumstances(suite, device, variant)
    done = None if list_cases or fresh else finished_run(root, now)
    if done is not None:
        say(console, f"{done.environment['device']}: run {done.run_id} is complete; --fresh begins another")
        _conclude(done, root, console, csv=csv)
        return

    from kfc_bench.measure.environment import environment
    from kfc_bench.results.run import locked, open_run
    from kfc_bench.runner.execute import Executor
    from kfc_bench.runner.filters import matches, parse_filter
    from kfc_bench.runner.suite import find_suite, load_suite

    loaded = load_suite(find_suite(suite), device, variant)
    wanted = [parse_filter(text) for text in filters or []]
    if list_cases:
        for section in loaded.sections:
            cases = [case for case in section.plan.due({}) if matches(case.columns(), wanted)]
            say(console, f"{section.name}: {len(cases)} cases known of {section.plan.total}")
            for case in cases:
                say(console, f"  {case.case_id}  {case.label}")
        return
    known = (case.columns() for section in loaded.sections for case in section.plan.due({}))
    if not root.exists() and not any(matches(columns, wanted) for columns in known):
        words = " ".join(f"--filter {text}" for text in filters or [])
        raise UserError(f"{words}: no case of suite {loaded.name!r} matches; --list shows them")
    with locked(root):
        description = environment(loaded.device)
        current, line = open_run(root, description, fresh=fresh)
        say(console, f"{description['device']}: {line}")
        typed = _retyped(suite, device, variant, filters, csv=csv)
        executor = Executor(loaded, current, wanted, console, typed, now)
        try:
            executor.execute()
        except KeyboardInterrupt:
            kept = len(current.records())
            raise UserInterrupt(f"interrupted: {kept} records are kept in {root}; run again to go on") from None
        _conclude(current, root, console, csv=csv)
        if executor.out_of_time:
            total, finished = (sum(column) for column in zip(*executor.counts().values(), strict=True))
            say(
                console,
                f"the time limit of {loaded.time_limit_s:g} s has passed: {total - finished} of {total} cases "
                "were not reached; run again to go on",
            )


def _conclude(run: Run, root: Path, console: Console, *, csv: bool) -> None:
    """Write a run's files and print its tables."""
    from kfc_bench.report.document import REPORT, write_report
    from kfc_bench.report.export import export_csv
    from kfc_bench.report.summary import print_summary
    from kfc_bench.results.frames import run_frames

    frames = run_frames(run)
    written = export_csv(frames, root) if csv else []
    write_report(run, frames, root / REPORT)
    print_summary(frames, console)
    for path in [*written, root / REPORT]:
        say(console, f"wrote {path}")
    say(console, f"next: kfc-bench dashboard {root}")


def _retyped(suite: str, device: str | None, variant: str | None, filters: list[str] | None, *, csv: bool) -> str:
    """Write a run's command anew, without where its results went and its data lay."""
    words = ["kfc-bench", "run", suite]
    words += ["--device", device] if device is not None else []
    words += ["--variant", variant] if variant is not None else []
    for text in filters or []:
        words += ["--filter", text]
    return shlex.join([*words, *([] if csv else ["--no-csv"])])
