"""``kfc-bench``: run a suite, export its results, open the dashboard."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kfc_bench import __version__
from kfc_bench.errors import UserError

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
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,  # noqa: ARG001
) -> None:
    """What each Fisher approximation costs, and whether it trains faster than SGD."""


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="A suite that comes along (quickstart, campaign) or a .toml file.")],
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda; overrides the suite's.")] = None,
    results: Annotated[Path | None, typer.Option(help="Where results go; results/SUITE if not given.")] = None,
    filters: Annotated[list[str] | None, typer.Option("--filter", help="key=value[,value]: only such cases; repeatable.")] = None,
    list_cases: Annotated[bool, typer.Option("--list", help="List the cases and stop.")] = False,
    fresh: Annotated[bool, typer.Option(help="Begin a new run even if one could be gone on with.")] = False,
) -> None:
    """Measure a suite, keeping every finished record; run it again to go on."""
    from kfc_bench.measure.environment import environment  # noqa: PLC0415
    from kfc_bench.report.export import export_csv  # noqa: PLC0415
    from kfc_bench.report.tables import print_summary  # noqa: PLC0415
    from kfc_bench.results.frames import to_frames  # noqa: PLC0415
    from kfc_bench.results.run import locked, open_run  # noqa: PLC0415
    from kfc_bench.runner.execute import Executor  # noqa: PLC0415
    from kfc_bench.runner.filters import matches, parse_filter  # noqa: PLC0415
    from kfc_bench.runner.suite import find_suite, load_suite  # noqa: PLC0415

    console = Console()
    loaded = load_suite(find_suite(suite), device)
    wanted = [parse_filter(text) for text in filters or []]
    if list_cases:
        for section in loaded.sections:
            cases = [case for case in section.plan.due({}) if matches(case.columns(), wanted)]
            console.print(f"{section.name}: {len(cases)} cases known of {section.plan.total}", highlight=False)
            for case in cases:
                console.print(f"  {case.case_id}  {case.label}", highlight=False)
        return
    root = results or Path("results") / loaded.name
    with locked(root):
        description = environment(loaded.device)
        current, line = open_run(root, description, fresh=fresh)
        console.print(f"{description['device']}: {line}", highlight=False)
        try:
            records = Executor(loaded, current, wanted, console).execute()
        except KeyboardInterrupt:
            kept = len(current.records())
            raise UserInterrupt(f"interrupted: {kept} records are kept in {root}; run again to go on") from None
        frames = to_frames(records, {current.environment["env_id"]: current.environment})
        written = export_csv(frames, root)
    print_summary(frames, console)
    for path in written:
        console.print(f"wrote {path}", highlight=False)
    console.print(f"next: kfc-bench dashboard {root}", highlight=False)


class UserInterrupt(Exception):
    """Ctrl-C, with one line that says what was kept."""


@app.command()
def export(
    results: Annotated[list[Path], typer.Argument(help="Results folders.")],
    format: Annotated[Format, typer.Option(help="What to write.")] = Format.csv,  # noqa: A002, ARG001
    out: Annotated[Path | None, typer.Option(help="Where to; the first results folder if not given.")] = None,
    every_run: Annotated[bool, typer.Option(help="All runs of a folder, not only its newest.")] = False,
) -> None:
    """Write tidy CSV files, and comparison.csv, the wide one for papers."""
    from kfc_bench.report.export import export_csv  # noqa: PLC0415
    from kfc_bench.results.frames import load_results  # noqa: PLC0415

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
    from kfc_bench.report.tables import print_summary, tables  # noqa: PLC0415
    from kfc_bench.results.frames import load_results  # noqa: PLC0415

    frames = load_results(results)
    if markdown:
        for table in tables(frames):
            typer.echo(table.to_markdown())
        return
    print_summary(frames, Console())


@app.command()
def dashboard(
    results: Annotated[list[Path] | None, typer.Argument(help="Results folders; the committed ones if none is given.")] = None,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 8501,
) -> None:
    """Open the dashboard over results, on this machine only."""
    import importlib.util  # noqa: PLC0415

    from kfc_bench.resources import share  # noqa: PLC0415

    for folder in results or []:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such results folder; make one with: kfc-bench run quickstart")
    if importlib.util.find_spec("streamlit") is None:
        raise UserError("the dashboard needs streamlit: pip install 'kfc-bench[dashboard]'")
    command = [sys.executable, "-m", "streamlit", "run", str(share("dashboard") / "app.py")]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port), "--browser.gatherUsageStats", "false"]
    command += ["--", *(str(folder.resolve()) for folder in results or [])]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


def main() -> None:
    """Run the command line; mistakes of the user's end in one line and exit code 2, Ctrl-C in 130."""
    warnings.showwarning = lambda message, *_, **__: print(f"kfc-bench: warning: {message}", file=sys.stderr)  # noqa: T201
    try:
        app()
    except UserError as error:
        print(f"kfc-bench: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except UserInterrupt as error:
        print(f"kfc-bench: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
