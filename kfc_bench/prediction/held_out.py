"""Predictions beside what was measured of steps that they knew nothing of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from kfc_bench.errors import UserError
from kfc_bench.experiments.profile.layers import modules
from kfc_bench.prediction.measured import Measured
from kfc_bench.prediction.model import DeviceModel
from kfc_bench.prediction.predict import Prediction, Question, predict
from kfc_bench.prediction.replay import Step
from kfc_bench.prediction.samples import measured_steps, periods_of, shape_of, step_of
from kfc_bench.problems.named import find_network
from kfc_bench.results.frames import Results

HELD_OUT_FILE = "held-out.csv"

TIME_TARGET, MEMORY_TARGET = 0.25, 0.15
"""What the medians of the relative errors of time and of peak memory are to be."""

COLUMNS = (
    *("device", "network", "batch", "approximation", "clip"),
    *("predicted_s", "low_s", "high_s", "measured_s", "time_error", "measured_share"),
    *("predicted_bytes", "measured_bytes", "memory_error"),
)


def held_out(
    results: Results, known: Results, models: Mapping[str, DeviceModel], told: Callable[[str], None]
) -> pd.DataFrame:
    """Predict every profiled step from other runs' records.

    Args:
        results: The steps to predict.
        known: What predictions may know; its records of the same networks do not count.
        models: Fitted rates by device.
        told: Is told which step is predicted.

    Returns:
        One row a step, `COLUMNS`; errors are relative to what was measured.

    Raises:
        UserError: There is no profiled step, none of a device whose rates were fitted, one of a network that they were
            fitted to, or one that cannot be predicted.
    """
    steps = measured_steps(results)
    if steps.empty:
        raise UserError("--check: no profiled steps there; measure some with: kfc-bench run profile --variant held_out")
    own = frozenset(steps["network"])
    rows: list[dict[str, object]] = []
    measured: dict[str, Measured] = {}
    for row in steps.to_dict("records"):
        device, name = str(row["device_name"]), str(row["network"])
        if device not in models:
            known_devices = "; ".join(models) or "none"
            raise UserError(f"--check: no fitted rates of {device!r}, there are those of: {known_devices}; see --fit")
        if name in models[device].errors:
            raise UserError(
                f"--check: the rates of {device!r} were fitted to {name}; check networks that were left out"
            )
        network = find_network(name, shape_of(str(row["input"])))
        question = Question(name, network, modules(network), *periods_of(row), None)
        asked = step_of(row)
        step = Step(
            asked.approximation, asked.batch, asked.clip, channels_last=lies_last(models[device], network.input_shape)
        )
        if device not in measured:
            measured[device] = Measured(known, device, own)
        told(f"{name}, batch {step.batch}, {step.approximation}")
        found = predict(question, step, models[device], measured[device])
        if found.reason:
            raise UserError(
                f"--check: {name}, batch {step.batch}, {step.approximation} is not predicted: {found.reason}"
            )
        rows.append(_row(device, name, found, float(row["step_s"]), int(row["peak_memory_bytes"])))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def lies_last(model: DeviceModel, input_shape: tuple[int, ...]) -> bool:
    """Tell whether a network's images are assumed to lie with channels last, as most measured ones were fastest."""
    return model.channels_last and len(input_shape) == 3


def _row(device: str, network: str, found: Prediction, seconds: float, size: int) -> dict[str, object]:
    return {
        "device": device,
        "network": network,
        "batch": found.step.batch,
        "approximation": found.step.approximation,
        "clip": found.step.clip,
        "predicted_s": found.seconds,
        "low_s": found.low,
        "high_s": found.high,
        "measured_s": seconds,
        "time_error": found.seconds / seconds - 1,
        "measured_share": found.measured_share,
        "predicted_bytes": found.step_bytes,
        "measured_bytes": size,
        "memory_error": found.step_bytes / size - 1,
    }


def past_error(rows: pd.DataFrame) -> str:
    """Say how far predictions were off.

    Args:
        rows: From `held_out`, of one device or several.

    Returns:
        A sentence.
    """
    times, sizes = (rows[name].abs() for name in ("time_error", "memory_error"))
    inside = ((rows["low_s"] <= rows["measured_s"]) & (rows["measured_s"] <= rows["high_s"])).sum()
    verdicts = [_verdict(errors, target) for errors, target in ((times, TIME_TARGET), (sizes, MEMORY_TARGET))]
    networks = ", ".join(dict.fromkeys(rows["network"]))
    return (
        f"past error, {len(rows)} steps of networks left out ({networks}): time {verdicts[0]}, "
        f"{inside} of {len(rows)} within their interval; memory {verdicts[1]}"
    )


def _verdict(errors: pd.Series[float], target: float) -> str:
    word = "meets" if errors.median() <= target else "misses"
    return (
        f"{100 * errors.median():.3g} % in the median ({word} the target of {100 * target:.0f} %), "
        f"{100 * errors.max():.3g} % at worst"
    )


def read_held_out(folder: Path) -> pd.DataFrame:
    """Read every table of held-out steps below a folder.

    Args:
        folder: Of results.

    Returns:
        Their rows; none where there is no table.

    Raises:
        UserError: A table lacks a column.
    """
    frames = []
    for path in sorted(folder.rglob(HELD_OUT_FILE)):
        frame = pd.read_csv(path)
        missing = [name for name in COLUMNS if name not in frame.columns]
        if missing:
            raise UserError(f"{path}: columns {', '.join(missing)} are missing; write it with --check")
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
