"""``kfc-bench profile``: where a training step's time and memory go."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kfc_bench.commands.console import TableFormat, say
from kfc_bench.errors import UserError


def input_shape(text: str) -> list[int]:
    """Read the shape of one example, such as ``3x32x32``.

    Args:
        text: The command line's word.

    Returns:
        Its sizes.

    Raises:
        UserError: It is none.
    """
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text):
        raise UserError(f"--input {text!r}: the shape of one example is needed, such as 3x32x32")
    return [int(size) for size in text.split("x")]


def _typed(words: dict[str, Any], shape: str | None) -> str:
    """Write the command anew, without where its results went."""
    given = {key: value for key, value in words.items() if key not in ("network", "input", "least_visits")}
    given |= {} if shape is None else {"input": shape}
    options = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    return shlex.join(["kfc-bench", "profile", words["network"], *options])


def profile(
    network: Annotated[str, typer.Argument(help="cifar10, resnet18, ..., or MODULE:CALLABLE of your own.")],
    approximation: Annotated[str, typer.Option(help="kfc, ekfac, diagonal, ..., or sgd.")] = "kfc",
    batch: Annotated[int, typer.Option(help="Examples.")] = 128,
    clip: Annotated[float, typer.Option(help="C, the limit of v^T F v; 0 for no clipping.")] = 0.0,
    input: Annotated[str | None, typer.Option(help="Shape of one example, such as 3x32x32.")] = None,
    fisher: Annotated[str, typer.Option(help="mc, type2 or empirical.")] = "mc",
    damping: Annotated[float, typer.Option(help="gamma.")] = 1e-3,
    statistics_every: Annotated[int, typer.Option(help="Steps between statistics.")] = 10,
    inverses_every: Annotated[int, typer.Option(help="Steps between inverses.")] = 20,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    precision: Annotated[str, typer.Option(help="ieee or tf32.")] = "ieee",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    visits: Annotated[int, typer.Option(help="Visits, six at least; more are taken until the time is known.")] = 6,
    results: Annotated[
        Path | None, typer.Option(help="Where results go; results/profile-NETWORK if not given.")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Measure anew even if a record could be shown.")] = False,
    trace: Annotated[Path | None, typer.Option(help="Write a Chrome trace of one step of each kind there.")] = None,
    every_layer: Annotated[bool, typer.Option("--all", help="Show every layer, not only the largest.")] = False,
    format: Annotated[TableFormat, typer.Option(help="How to print the tables.")] = TableFormat.terminal,
) -> None:
    """Take a training step apart: its time and memory by phase and by layer, measured within whole steps."""
    from kfc_bench.experiments.base import KnownCases
    from kfc_bench.experiments.profile.plan import sweep
    from kfc_bench.experiments.table import Table
    from kfc_bench.measure.environment import environment, resolve_device
    from kfc_bench.report.document import REPORT, write_report
    from kfc_bench.report.export import export_csv
    from kfc_bench.report.profiles import MOST_LAYERS, layers_table, phases_table, sum_line
    from kfc_bench.report.tables import device_badge
    from kfc_bench.results.frames import run_frames
    from kfc_bench.results.run import locked, open_run
    from kfc_bench.runner.execute import Executor
    from kfc_bench.runner.suite import DEVICES, Section, Suite

    words: dict[str, Any] = {
        "network": network,
        "approximation": approximation,
        "batch": batch,
        "clip": clip,
        "fisher": fisher,
        "damping": damping,
        "statistics_every": statistics_every,
        "inverses_every": inverses_every,
        "dtype": dtype,
        "precision": precision,
        "least_visits": visits,
        **({} if input is None else {"input": input_shape(input)}),
    }
    table = Table(words, "profile")
    resolved = resolve_device(table.one_of("device", device, DEVICES))
    (case,) = sweep(table, resolved)
    if trace is not None and not os.access(trace.parent, os.W_OK):
        raise UserError(f"--trace {trace}: {trace.parent} is no folder that can be written to")
    root = results or Path("results") / f"profile-{network.replace(':', '-')}"
    errors = Console(stderr=True)
    with locked(root):
        description = environment(resolved)
        run, line = open_run(root, description, fresh=fresh)
        say(errors, f"{description['device']}: {line}")
        suite = Suite("profile", resolved, (Section("profile", "profile", KnownCases((case,))),))
        try:
            done = Executor(suite, run, [], errors, _typed(words, input)).execute()
            record = {own["case_id"]: own for own in done}[case.case_id]
        except KeyboardInterrupt:
            raise UserError("interrupted: a profile is kept once it is whole, and this one was not") from None
        frames = run_frames(run)
        written = [*export_csv(frames, root), root / REPORT]
        write_report(run, frames, root / REPORT)
    if record["status"] != "ok":
        say(errors, f"{case.label}: {record['status']}: {record.get('reason')}")
        raise typer.Exit(1)
    own = frames.profile[frames.profile["case_id"] == case.case_id]
    badge = device_badge(frames)
    tables = [phases_table(own, badge), layers_table(own, badge, None if every_layer else MOST_LAYERS)]
    if format is TableFormat.csv:
        typer.echo(own.to_csv(index=False, lineterminator="\n"), nl=False)
    else:
        for shown in tables:
            typer.echo(shown.to_markdown() if format is TableFormat.markdown else shown.to_text())
        typer.echo(sum_line(record))
    if trace is not None:
        from kfc_bench.experiments.profile.trace import write_trace

        write_trace(case, record["layout"], trace)
        written.append(trace)
    for path in written:
        say(errors, f"wrote {path}")
