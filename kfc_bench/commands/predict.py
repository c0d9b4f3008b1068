"""``kfc-bench predict``: what a training step will take, before it runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kfc_bench.commands.console import TableFormat, say
from kfc_bench.commands.profile import input_shape
from kfc_bench.errors import UserError

if TYPE_CHECKING:
    from kfc_bench.prediction.replay import Step


def predict(
    network: Annotated[
        str | None,
        typer.Argument(help="cifar10, resnet18, ..., MODULE:CALLABLE of your own, or a .toml or .json list of layers."),
    ] = None,
    approximation: Annotated[
        list[str] | None, typer.Option(help="kfc, ekfac, ..., or sgd; repeatable, all if not given.")
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Examples; repeatable, 128 if not given.")] = None,
    clip: Annotated[float, typer.Option(help="C, the limit of v^T F v; 0 for no clipping.")] = 0.0,
    statistics_every: Annotated[int, typer.Option(help="Steps between statistics.")] = 10,
    inverses_every: Annotated[int, typer.Option(help="Steps between inverses.")] = 20,
    input: Annotated[str | None, typer.Option(help="Shape of one example, such as 3x32x32.")] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, or a device that need not be here: a GPU's name, such as H100.")
    ] = "auto",
    records: Annotated[
        Path | None, typer.Option(help="Results that predictions may know; the committed ones if not given.")
    ] = None,
    fit: Annotated[
        Path | None, typer.Option(help="Fit rates to the profiles there, and write them to --out, rates.json.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Predict the profiles there from other runs' records, and show the errors.")
    ] = None,
    format: Annotated[TableFormat, typer.Option(help="How to print the table.")] = TableFormat.terminal,
    out: Annotated[Path | None, typer.Option(help="Write the table, or the rates, there instead.")] = None,
) -> None:
    """Predict time, memory and overhead of a training step; nothing of it is run."""
    from kfc_bench.resources import share

    asked = [network is not None, fit is not None, check is not None]
    if sum(asked) != 1:
        raise UserError("name one NETWORK, such as cifar10, or give --fit or --check a results folder")
    if records is not None and not records.is_dir():
        raise UserError(f"--records {records}: no such results folder")
    if network is None and (approximation or batch or clip or input or device != "auto"):
        raise UserError("--approximation, --batch, --clip, --input and --device go with a NETWORK alone")
    folder = records or share("results")
    errors = Console(stderr=True)
    if fit is not None:
        _fit(fit, out, errors)
    elif check is not None:
        _check(check, folder, out, errors)
    else:
        steps = _steps(approximation, batch or [128], clip)
        for name, every in (("--statistics-every", statistics_every), ("--inverses-every", inverses_every)):
            if every < 1:
                raise UserError(f"{name} {every}: at least 1 is needed")
        _predict(str(network), steps, (statistics_every, inverses_every), input, device, folder, format, out, errors)


def _steps(approximations: list[str] | None, batches: list[int], clip: float) -> list[Step]:
    """Cross approximations and batches."""
    from kfc_bench.curvature import APPROXIMATIONS
    from kfc_bench.prediction.replay import SGD, Step

    known = [SGD, *(name for name in APPROXIMATIONS if name != "identity")]
    for name in approximations or []:
        if name not in known:
            raise UserError(f"--approximation {name!r} is not one of {', '.join(known)}")
    if min(batches) < 1:
        raise UserError(f"--batch {min(batches)}: at least one example is needed")
    if not 0 <= clip < math.inf:
        raise UserError(f"--clip {clip:g} must be a number that is not negative; 0 is no clipping")
    return [
        Step(name, examples, None if name == SGD else clip or None)
        for examples in batches
        for name in approximations or known
    ]


def _predict(
    name: str,
    steps: list[Step],
    periods: tuple[int, int],
    shape: str | None,
    device: str,
    folder: Path,
    format: TableFormat,
    out: Path | None,
    errors: Console,
) -> None:
    from dataclasses import replace

    from kfc_bench.experiments.profile.layers import modules
    from kfc_bench.prediction.devices import find_device
    from kfc_bench.prediction.held_out import lies_last, past_error, read_held_out
    from kfc_bench.prediction.layer_list import read_layers
    from kfc_bench.prediction.measured import Measured
    from kfc_bench.prediction.model import read_models
    from kfc_bench.prediction.predict import Prediction, Question, predict, with_sgd
    from kfc_bench.prediction.replay import SGD
    from kfc_bench.prediction.table import frame, remarks, table
    from kfc_bench.problems.named import find_network
    from kfc_bench.report.files import write_text
    from kfc_bench.results.frames import load_results

    if name.endswith((".toml", ".json")):
        if shape is not None:
            raise UserError(f"--input goes with a network; the layers of {name} say their own sizes")
        entry = read_layers(Path(name))
    else:
        entry = find_network(name, None if shape is None else input_shape(shape))
    asked = find_device(device, read_models(folder))
    model, free = asked.model, asked.free_bytes
    question = Question(name, entry, modules(entry), *periods, free, asked.kind)
    measured = Measured(load_results([folder] if folder.is_dir() else []), model.device)
    last = lies_last(model, entry.input_shape)
    found: list[Prediction] = []
    with errors.status("") as status:
        for step in with_sgd([replace(step, channels_last=last) for step in steps]):
            status.update(f"{step.approximation}, batch {step.batch}")
            plain = next((one for one in found if one.step.approximation == SGD and one.step.batch == step.batch), None)
            found.append(predict(question, step, model, measured, plain))
    rows = read_held_out(folder)
    own = rows[rows["device"] == model.device]
    shown = table(name, model.device, found, free)
    if format == TableFormat.csv:
        text = frame(found, free).to_csv(index=False)
    elif format == TableFormat.markdown:
        text = shown.to_markdown()
    else:
        text = shown.to_text()
    said = remarks(model, found, past_error(own) if len(own) else "", free)
    if format != TableFormat.csv:
        text += "\n" + "\n".join(f"{'- ' if format == TableFormat.markdown else ''}{line}" for line in said) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(text, out)
        say(errors, f"wrote {out}")


def _fit(results: Path, out: Path | None, errors: Console) -> None:
    import json

    from kfc_bench.prediction.model import CALLS, RATES_FILE, SHARE, fit
    from kfc_bench.prediction.rates import assumed
    from kfc_bench.prediction.samples import samples
    from kfc_bench.report.files import write_text
    from kfc_bench.results.frames import load_results

    if out is None or out.name != RATES_FILE:
        raise UserError(f"--fit writes a file of its own: name it with --out DIR/{RATES_FILE}")
    frames = load_results([results])
    with errors.status("") as status:
        found = list(samples(frames, status.update))
    devices = sorted({sample.device for sample in found})
    if len(devices) != 1:
        raise UserError(f"--fit {results}: profiles of one device are needed, not of {'; '.join(devices) or 'none'}")
    kind = next(iter(frames.environments.values()))["device_kind"]
    # Of operations that no step had: a hundredth of a second for a GFLOP or a tenth of a GB.
    prior = assumed(1e11, 1e10, CALLS[kind], SHARE)
    networks = ", ".join(dict.fromkeys(sample.network for sample in found))
    model = fit(found, prior, f"rates fitted to {len(found)} profiled steps of {networks}")
    write_text(json.dumps(model.described(), indent=1) + "\n", out)
    low, high = model.interval()
    say(errors, f"wrote {out}: a network left out takes {low:.2f} to {high:.2f} times the predicted time")


def _check(results: Path, folder: Path, out: Path | None, errors: Console) -> None:
    from kfc_bench.prediction.held_out import HELD_OUT_FILE, held_out, past_error
    from kfc_bench.prediction.model import read_models
    from kfc_bench.report.files import write_text
    from kfc_bench.results.frames import load_results

    if out is not None and out.name != HELD_OUT_FILE:
        raise UserError(f"--check writes a file of its own: name it with --out DIR/{HELD_OUT_FILE}")
    with errors.status("") as status:
        rows = held_out(
            load_results([results]),
            load_results([folder] if folder.is_dir() else []),
            read_models(folder),
            status.update,
        )
    text = rows.to_csv(index=False, float_format="%.6g")
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(text, out)
        say(errors, f"wrote {out}")
    say(errors, past_error(rows))
