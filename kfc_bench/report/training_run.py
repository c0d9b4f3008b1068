"""The cost of a training run, from profiled steps."""

from __future__ import annotations

import math

import pandas as pd

from kfc_bench.report.outcomes import SGD
from kfc_bench.report.profiles import CASE, step_name
from kfc_bench.report.tables import TextTable, device_badge
from kfc_bench.report.units import ratio, seconds
from kfc_bench.results.frames import Results

KEY = ["env_id", "network", "batch", "dtype", "precision"]
STATISTICS = ("sampled backward", "input factor", "output factor", "statistics", "eigenvalue correction")
"""What a batch's statistics take beside the forward pass."""

EXAMPLES, EPOCHS = 50_000, 10
"""The run that the table shows: so many examples, the paper's CIFAR-10, so many times."""


def initialisation_s(parts: pd.DataFrame, batches: int) -> float:
    """Return the seconds of Algorithm 1's factors on a whole data set, and their inverses; 0 where there are none.

    Args:
        parts: One profile's rows.
        batches: Of the data set.

    Returns:
        Seconds.
    """
    by_phase = parts.groupby("phase")["call_s"].sum()
    statistics = by_phase.reindex(list(STATISTICS)).sum()
    inverse = by_phase.get("inverse", 0.0)
    return float(batches * (by_phase["forward"] + statistics) + inverse) if statistics else 0.0


def run_s(step: float, parts: pd.DataFrame, batch: int) -> tuple[float, float]:
    """Return what the table's run takes.

    Args:
        step: Seconds of a step, statistics and inverses amortised over its periods.
        parts: The profile's rows.
        batch: Examples of a step.

    Returns:
        Seconds of the initialisation, and of all.
    """
    batches = math.ceil(EXAMPLES / batch)
    first = initialisation_s(parts, batches)
    return first, first + EPOCHS * batches * step


def run_table(results: Results) -> TextTable | None:
    """Show what a run of ten epochs of 50,000 examples takes by profiled steps, evaluation left out.

    Args:
        results: What was measured.

    Returns:
        One row per profiled step; None where none was profiled.
    """
    profiles = results.profiles[results.profiles["status"] == "ok"]
    if profiles.empty:
        return None
    runs = {
        index: run_s(step["step_s"], results.profile[(results.profile[CASE] == step[CASE]).all(axis=1)], step["batch"])
        for index, step in profiles.iterrows()
    }
    baseline = {tuple(step[KEY]): runs[index][1] for index, step in profiles.iterrows() if step["approximation"] == SGD}
    rows = []
    for index, step in profiles.iterrows():
        first, total = runs[index]
        sgd = baseline.get(tuple(step[KEY]))
        rows.append(
            [
                str(step["network"]),
                f"{step['batch']:.0f}",
                step_name(step),
                seconds(step["step_s"]),
                seconds(first) if first else "-",
                seconds(total),
                ratio(total / sgd) if sgd else "-",
            ]
        )
    return TextTable(
        f"A training run of {EPOCHS} x {EXAMPLES:,} examples by profiled steps ({device_badge(results)})",
        ["network", "batch", "optimizer", "step", "initialisation", f"{EPOCHS} epochs", "/ SGD"],
        rows,
    )
