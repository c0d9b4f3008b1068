"""Predictions as a table, and what is to be said under it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kfc_bench.prediction.model import INSIDE, DeviceModel
from kfc_bench.prediction.predict import Prediction
from kfc_bench.prediction.replay import SGD
from kfc_bench.report.tables import TextTable
from kfc_bench.report.units import ratio, seconds, size

COLUMNS = (
    *("batch", "approximation", "clip", "status", "step_s", "low_s", "high_s", "over_sgd", "measured_share"),
    *("needed_bytes", "step_bytes", "held_bytes", "free_bytes", "reason"),
)


def _sgd(predictions: Sequence[Prediction], batch: int) -> float:
    return next(found.seconds for found in predictions if found.step.approximation == SGD and found.step.batch == batch)


def _status(found: Prediction) -> str:
    if found.reason:
        return "unsupported"
    return "oom" if found.fits is False else "ok"


def frame(predictions: Sequence[Prediction], free_bytes: int | None) -> pd.DataFrame:
    """Make a row of each prediction.

    Args:
        predictions: With SGD's of each batch.
        free_bytes: Of the device; None where that is not known.

    Returns:
        `COLUMNS`; times in seconds.
    """
    rows = [
        {
            "batch": found.step.batch,
            "approximation": found.step.approximation,
            "clip": found.step.clip,
            "status": _status(found),
            "step_s": found.seconds,
            "low_s": found.low,
            "high_s": found.high,
            "over_sgd": found.seconds / _sgd(predictions, found.step.batch),
            "measured_share": found.measured_share,
            "needed_bytes": found.needed_bytes,
            "step_bytes": found.step_bytes,
            "held_bytes": found.held_bytes,
            "free_bytes": free_bytes,
            "reason": found.reason,
        }
        for found in predictions
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def table(network: str, device: str, predictions: Sequence[Prediction], free_bytes: int | None) -> TextTable:
    """Show the predictions.

    Args:
        network: Its name.
        device: Its name.
        predictions: With SGD's of each batch.
        free_bytes: Of the device; None where that is not known.

    Returns:
        One row a step.
    """
    rows = []
    for found in predictions:
        clip = "" if found.step.clip is None else f", clip {found.step.clip:g}"
        name = [str(found.step.batch), f"{found.step.approximation}{clip}"]
        if found.reason:
            rows.append([*name, "-", "-", "-", "-", found.reason])
            continue
        if not found.phases:
            needs = f"does not fit: needs more than {size(found.needed_bytes)}, {size(free_bytes)} is free"
            rows.append([*name, "-", "-", "-", f"more than {size(found.needed_bytes)}", needs])
            continue
        time = f"{seconds(found.seconds)} [{seconds(found.low)}, {seconds(found.high)}]"
        over = ratio(found.seconds / _sgd(predictions, found.step.batch))
        rows.append(
            [
                *name,
                time,
                over,
                f"{100 * found.measured_share:.0f} %",
                size(found.needed_bytes),
                _fits(found, free_bytes),
            ]
        )
    header = ["batch", "approximation", "step", "/ SGD", "measured", "memory", "fits"]
    return TextTable(f"Predicted steps of {network} ({device}); nothing was run", header, rows)


def _fits(found: Prediction, free_bytes: int | None) -> str:
    if found.fits is None:
        return "not known"
    return "yes" if found.fits else f"does not fit: needs {size(found.needed_bytes)}, {size(free_bytes)} is free"


def remarks(model: DeviceModel, predictions: Sequence[Prediction], past: str, free_bytes: int | None) -> list[str]:
    """Say how sure the predictions are, and what they assume.

    Args:
        model: The device's rates.
        predictions: The predictions.
        past: Of `kfc_bench.prediction.held_out.past_error`; empty where nothing was held out on this device.
        free_bytes: Of the device.

    Returns:
        Lines.
    """
    share = sum(found.measured_share for found in predictions) / len(predictions)
    lines = [
        f"times: {100 * share:.0f} % from records of this step or of a layer like its own, the rest from {model.source}"
    ]
    if model.is_fitted:
        lines.append(
            f"intervals: {100 * INSIDE:.0f} % of the steps of networks left out of the fit lay within such ones"
        )
    else:
        lines.append("intervals: a factor of 3 each way, a guess: never held to a measurement on this device")
    lines.append(past or "past error: no steps were held out on this device")
    lines.append(
        "memory: parameters, batch, optimizer and the most that a step with statistics and inverses holds"
        + ("" if free_bytes is None else f"; {size(free_bytes)} is free")
    )
    layout = "channels last" if any(found.step.channels_last for found in predictions) else "contiguous"
    lines.append(f"assumed: float32, {layout}, one Monte Carlo sample, gradients from a cross-entropy of logits")
    return lines
