"""``kfc-bench``: run a suite, export its results, open the dashboard."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kfc_bench import __version__
from kfc_bench.commands.console import TableFormat, say
from kfc_bench.commands.predict import predict
from kfc_bench.commands.profile import profile
from kfc_bench.errors import UserError

if TYPE_CHECKING:
    from kfc_bench.results.run import Run
    from kfc_bench.results.schema import Record

INTERRUPTED = 130

app = typer.Typer(
    help="What each Fisher approximation costs, and whether it trains faster than SGD.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """What `export` can write."""

    csv = "csv"


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"kfc-bench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What each Fisher approximation costs, and whether it trains faster than SGD."""


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="A suite that comes along (quickstart, peers, layers, ...) or a .toml.")],
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda; overrides the suite's.")] = None,
    variant: Annotated[
        str | None, typer.Option(help="Which of the suite's variants; the device's own if not given.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Where results go; results/SUITE, or results/SUITE-VARIANT, if not given.")
    ] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help="key=value[,value]: only such cases; repeatable.")
    ] = None,
    list_cases: Annotated[bool, typer.Option("--list", help="List the cases and stop.")] = False,
    fresh: Annotated[bool, typer.Option(help="Begin a new run even if one could be gone on with.")] = False,
    csv: Annotated[bool, typer.Option("--csv/--no-csv", help="Write CSV files too.")] = True,
) -> None:
    """Measure a suite, keeping every finished record; run it again to go on."""
    from kfc_bench.results.finished import circumstances, finished_run

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
    """Write a run's command anew, without where its results went."""
    words = ["kfc-bench", "run", suite]
    words += ["--device", device] if device is not None else []
    words += ["--variant", variant] if variant is not None else []
    for text in filters or []:
        words += ["--filter", text]
    return shlex.join([*words, *([] if csv else ["--no-csv"])])


class UserInterrupt(Exception):
    """Ctrl-C, with one line that says what was kept."""


@app.command("import")
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A results folder, for its newest run, or one run's own folder.")],
    out: Annotated[Path | None, typer.Option(help="The file; report.md in the folder if not given.")] = None,
) -> None:
    """Write a report of a run for someone who knows nothing of the code, in Markdown."""
    from kfc_bench.report.document import REPORT, write_report
    from kfc_bench.report.stored import find_run
    from kfc_bench.results.frames import run_frames

    path = out or results / REPORT
    run = find_run(results)
    write_report(run, run_frames(run), path)
    typer.echo(f"wrote {path}")


@app.command()
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


@app.command()
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


@app.command()
def dashboard(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Results folders; the committed ones if none is given.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 8501,
) -> None:
    """Open the dashboard over results, on this machine only."""
    import importlib.util

    from kfc_bench.resources import share

    for folder in results or []:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such results folder; make one with: kfc-bench run quickstart")
    if importlib.util.find_spec("streamlit") is None:
        raise UserError("the dashboard needs streamlit: pip install 'kfc-bench[dashboard]'")
    command = [sys.executable, "-m", "streamlit", "run", str(share("dashboard") / "app.py")]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port), "--browser.gatherUsageStats", "false"]
    command += ["--", *(str(folder.resolve()) for folder in results or [])]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


app.command("profile")(profile)
app.command("predict")(predict)


def main() -> None:
    """Run the command line; mistakes of the user's end in one line and exit code 2, Ctrl-C in 130."""
    warnings.showwarning = lambda message, *_, **__: print(f"kfc-bench: warning: {message}", file=sys.stderr)
    try:
        sys.exit(app(standalone_mode=False))
    except UserError as error:
        print(f"kfc-bench: {error}", file=sys.stderr)
        sys.exit(2)
    except UserInterrupt as error:
        print(f"kfc-bench: {error}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code != INTERRUPTED:
            raise
        print("kfc-bench: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        # A word on the command line that typer does not know; the class has moved between its versions.
        if not hasattr(error, "format_message"):
            raise
        print(f"kfc-bench: {error.format_message()} Try kfc-bench --help.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
