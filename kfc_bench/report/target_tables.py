"""The way to the target in words: how much sooner than SGD, and what an epoch costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any

from kfc_bench.report.epoch_cost import PAPER_BOUND, within_bound
from kfc_bench.report.mean_ratio import MeanRatio
from kfc_bench.report.outcomes import SGD, STUDY, study_name
from kfc_bench.report.tables import TextTable, device_badge
from kfc_bench.report.time_to_target import OPPOSITE, Speedup, against_sgd
from kfc_bench.report.units import ratio, seconds, three
from kfc_bench.results.frames import Results

BASELINE = "baseline"


def speedup_words(found: Speedup) -> str:
    """Say whether an optimizer is faster, and by how much.

    Args:
        found: Its speed-up over SGD.

    Returns:
        ``3.1x faster [2.5, 3.8]``; ``1.1x [0.9, 1.4], unclear`` where the interval holds 1; ``at least 3.1x faster``
        of a bound.
    """
    mean = found.mean
    if math.isnan(mean.ratio):
        return "-"
    if mean.low <= 1 <= mean.high:
        return f"{three(mean.ratio)}x [{three(mean.low)}, {three(mean.high)}], unclear"
    faster = mean.ratio >= 1
    shown, word = (mean, "faster") if faster else (mean.inverse(), "slower")
    times = f"{three(shown.ratio)}x {word}"
    if found.bound:
        return f"{found.bound if faster else OPPOSITE[found.bound]} {times}"
    return f"{times}, one seed" if math.isnan(mean.low) else f"{times} [{three(shown.low)}, {three(shown.high)}]"


def amount(value: float, write: Callable[[float], str] = three) -> str:
    """Write a number that is infinite where the target was not met, and NaN where it is not known."""
    return "-" if math.isnan(value) else "not reached" if math.isinf(value) else write(value)


def _way(row: dict[Hashable, Any]) -> list[str]:
    mean = MeanRatio(row["seconds_speedup"], row["seconds_speedup_low"], row["seconds_speedup_high"])
    return [
        row["optimizer"],
        f"{row['seeds_reached']} of {row['seeds']}",
        str(row["seeds_diverged"] or "-"),
        amount(row["steps_to_target"], "{:g}".format),
        amount(row["epochs_to_target"]),
        seconds(row["seconds_to_target"]),
        BASELINE if row["optimizer"] == SGD else speedup_words(Speedup(mean, row["seconds_speedup_bound"])),
    ]


def target_tables(results: Results) -> list[TextTable]:
    """Show, for each study, how far each optimizer had to go to the target, the soonest first."""
    summary = against_sgd(results)
    tables = []
    for key, group in summary.groupby(STUDY, sort=False):
        study = dict(zip(STUDY, key, strict=True))
        metric, value = group[["target_metric", "target_value"]].iloc[0]
        target = f", {metric} {value:g}" if isinstance(metric, str) else ""
        badge = device_badge(results, str(study["env_id"]))
        ordered = group.sort_values("seconds_to_target", kind="stable")
        tables.append(
            TextTable(
                f"Way to the target: {study_name(study, summary)}{target} ({badge})",
                ["optimizer", "reached", "diverged", "steps", "epochs", "time", "by time, against SGD"],
                [_way(row) for row in ordered.to_dict("records")],
            )
        )
    return tables


def epoch_table(results: Results) -> TextTable | None:
    """Show what an epoch of training costs beside SGD's, and whether that is within the paper's bound."""
    summary = against_sgd(results)
    rows = [
        [
            study_name(row, summary),
            row["optimizer"],
            f"{row['batch']:.0f}",
            seconds(row["epoch_s"]),
            *_epoch(row),
        ]
        for row in summary[summary["epoch_s"].notna()].to_dict("records")
    ]
    header = ["problem", "optimizer", "batch", "an epoch", "/ SGD", f"within {PAPER_BOUND:g}x"]
    title = f"Training time of an epoch, initialisation spread over all ({device_badge(results)})"
    return TextTable(title, header, rows) if rows else None


def _epoch(row: dict[Hashable, Any]) -> tuple[str, str]:
    low, high = row["epoch_ratio_low"], row["epoch_ratio_high"]
    if row["optimizer"] == SGD:
        return BASELINE, "-"
    interval = "" if math.isnan(low) else f" [{three(low)}, {three(high)}]"
    return ratio(row["epoch_ratio"]) + interval, within_bound(low, high)
