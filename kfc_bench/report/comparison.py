"""What an optimizer costs and gains beside SGD."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd

from kfc_bench.report.names import APPROXIMATIONS
from kfc_bench.report.outcomes import SGD, STUDY, current
from kfc_bench.report.pairs import paired
from kfc_bench.results.schema import VISIT_COLUMNS

STEP_KEY = ["env_id", "device", "network", "batch", "dtype", "precision", "cache"]

COMPARISON_COLUMNS = [
    "device",
    "problem",
    "network",
    "section",
    "batch",
    "dtype",
    "precision",
    "approximation",
    "clip",
    "step_s",
    "step_ratio",
    "step_ratio_low",
    "step_ratio_high",
    "sgd_implementation",
    "peak_memory_bytes",
    "seeds",
    "seeds_reached",
    "seeds_diverged",
    "steps_to_target",
    "steps_ratio",
    "seconds_to_target",
    "seconds_ratio",
    "final_test_error",
    "lr",
    "momentum",
    "damping",
    "schedule",
    "on_edge",
]
TUNED = ["batch", "clip", "lr", "momentum", "damping", "schedule", "on_edge"]


def _ratio(row: dict[Hashable, Any]) -> tuple[float, float, float]:
    """Return a step's ratio to SGD's and its interval, from a row that holds both."""
    sgd = {name: row[f"{name}_sgd"] for name in VISIT_COLUMNS}
    in_turn = paired(sgd, row)
    interval = in_turn.interval() if in_turn is not None else None
    if in_turn is not None and interval is not None:
        return in_turn.ratio, *interval
    return (
        row["time_median_s"] / row["time_median_s_sgd"],
        row["time_ci_low_s"] / row["time_ci_high_s_sgd"],
        row["time_ci_high_s"] / row["time_ci_low_s_sgd"],
    )


def step_costs(cost: pd.DataFrame) -> pd.DataFrame:
    """Set each training step beside SGD's on the same network, batch and device.

    Where SGD ran in several ways, the fastest is the baseline. Steps that were visited in turn with SGD's are paired
    round by round; for others the ratio is that of the medians, and its interval divides the far ends of the two 95 %
    intervals: wider than it need be, never narrower.

    Args:
        cost: The cost frame.

    Returns:
        One row per step that ran, with ``step_ratio`` (above 1: slower than SGD) and its interval.
    """
    steps = cost[(cost["phase"] == "step") & (cost["status"] == "ok")]
    baseline = steps[steps["approximation"] == SGD].sort_values("time_median_s").drop_duplicates(STEP_KEY)
    merged = steps.merge(baseline, on=STEP_KEY, how="left", suffixes=("", "_sgd"))
    ratios = [_ratio(row) for row in merged.to_dict("records")]
    return merged.assign(
        step_s=merged["time_median_s"],
        step_ratio=[ratio for ratio, _, _ in ratios],
        step_ratio_low=[low for _, low, _ in ratios],
        step_ratio_high=[high for _, _, high in ratios],
        sgd_implementation=merged["implementation_sgd"],
    )[
        [
            *STEP_KEY,
            "approximation",
            "clip",
            "step_s",
            "step_ratio",
            "step_ratio_low",
            "step_ratio_high",
            "sgd_implementation",
            "peak_memory_bytes",
        ]
    ]


def _median_censored(values: pd.Series[float]) -> float:
    """Median with runs that never arrived at infinity."""
    return float(values.fillna(math.inf).median())


def times_to_target(trials: pd.DataFrame) -> pd.DataFrame:
    """Summarise the reporting trials of each optimizer: medians over seeds, unreached ones counted as infinite.

    Args:
        trials: The trials frame.

    Returns:
        One row per study and optimizer, with ratios to SGD, whatever the batch that either was tuned to (below 1: fewer
        steps, fewer seconds; empty where SGD never arrives).
    """
    rows = []
    for key, group in current(trials, "report").groupby([*STUDY, "optimizer"], sort=False):
        ended = group["status"] == "ok"
        finished = group[ended]
        rows.append(
            {
                **dict(zip([*STUDY, "approximation"], key, strict=True)),
                "seeds": len(group),
                "seeds_reached": int(finished["steps_to_target"].notna().sum()),
                "seeds_diverged": int((group["status"] == "diverged").sum()),
                "steps_to_target": _median_censored(group["steps_to_target"].where(ended)),
                "seconds_to_target": _median_censored(group["seconds_to_target"].where(ended)),
                "final_test_error": finished["final_test_error"].median(),
                **{name: group[name].iloc[0] for name in TUNED},
            }
        )
    columns = [*STUDY, "approximation", "seeds", "seeds_reached", "seeds_diverged", "steps_to_target"]
    columns += ["seconds_to_target", "final_test_error", *TUNED]
    summary = pd.DataFrame(rows, columns=columns)
    baseline = summary.loc[summary["approximation"] == SGD, [*STUDY, "steps_to_target", "seconds_to_target"]]
    merged = summary.merge(baseline, on=STUDY, how="left", suffixes=("", "_sgd"))
    reached = merged["steps_to_target_sgd"] < math.inf
    return merged.assign(
        steps_ratio=(merged["steps_to_target"] / merged["steps_to_target_sgd"]).where(reached),
        seconds_ratio=(merged["seconds_to_target"] / merged["seconds_to_target_sgd"]).where(reached),
    ).drop(columns=["steps_to_target_sgd", "seconds_to_target_sgd"])


def comparison(cost: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Join what a step costs with what it gains: the wide table for papers.

    Args:
        cost: The cost frame.
        trials: The trials frame.

    Returns:
        One row per network, batch, approximation and clip, and per study where several trained it,
        `COMPARISON_COLUMNS`.
    """
    meet = ["env_id", "device", "network", "batch", "approximation", "clip"]
    words: dict[str, type] = dict.fromkeys(["env_id", "device", "network", "approximation"], object)
    words["clip"] = float
    steps, times = step_costs(cost).astype(words), times_to_target(trials).astype(words)
    joined = steps.merge(times, on=meet, how="outer", sort=False)
    order = {name: rank for rank, name in enumerate([SGD, *APPROXIMATIONS])}
    joined["rank"] = joined["approximation"].map(order).fillna(len(order))
    return joined.sort_values(["network", "batch", "rank", "clip"], kind="stable", na_position="first")[
        COMPARISON_COLUMNS
    ].reset_index(drop=True)
