"""What tuning tried and chose: how much damping and learning rate matter, and what the search took."""

from __future__ import annotations

import math
from itertools import product

import pandas as pd

from kfc_bench.report.outcomes import STUDY, outcomes, study_name
from kfc_bench.report.tables import TextTable, device_badge
from kfc_bench.report.target_tables import amount
from kfc_bench.report.units import seconds, three
from kfc_bench.results.frames import Results

HYPERPARAMETERS = ("damping", "lr")
CONTESTANT = [*STUDY, "optimizer"]
SENSITIVITY_COLUMNS = [
    *CONTESTANT,
    "hyperparameter",
    "value",
    "trials",
    "trials_reached",
    "trials_diverged",
    "epochs_to_target",
    "validation_loss",
    "chosen",
]
BUDGET_COLUMNS = [*CONTESTANT, "trials", "trials_reached", "trials_diverged", "seconds"]
EDGE = " (edge)"
"""Beside what tuning chose: the best value lies at the end of what was tried, a better one may lie beyond."""

CHOSEN = " *"
SEARCHED = " (best tried)"
"""Beside the best of the tuning trials of an optimizer that has no reporting trials, or none yet."""


def _counts(trials: pd.DataFrame) -> dict[str, int]:
    return {
        "trials": len(trials),
        "trials_reached": int((trials["steps_to_target"] < math.inf).sum()),
        "trials_diverged": int(trials["diverged"].sum()),
    }


def _best(trials: pd.DataFrame) -> pd.Series | None:
    """Return the trial that tuning prefers; None where none went to its end."""
    ended = trials[trials["ended"]].sort_values(["examples_to_target", "last_loss"], kind="stable")
    return ended.iloc[0] if len(ended) else None


def _winner(trials: pd.DataFrame) -> pd.Series:
    """Return what tuning settles on: the best trial; where all failed, that of the least rate."""
    best = _best(trials)
    return trials.sort_values("lr", kind="stable").iloc[0] if best is None else best


def chosen(results: Results) -> pd.DataFrame:
    """Return a reporting trial of each optimizer of each study, or its best tuning trial where it has none.

    Args:
        results: What was measured.

    Returns:
        One row per study and optimizer, in the columns of `kfc_bench.report.outcomes.outcomes`.
    """
    report = outcomes(results, "report").drop_duplicates(CONTESTANT, keep="last")
    known = set(report[CONTESTANT].itertuples(index=False, name=None))
    searched = [
        _winner(trials)
        for contestant, trials in outcomes(results, "tuning").groupby(CONTESTANT, sort=False)
        if contestant not in known
    ]
    return pd.concat([report, pd.DataFrame(searched)]) if searched else report


def sensitivities(results: Results) -> pd.DataFrame:
    """Return what each value of damping and of learning rate came to, at the best of all else tried with it.

    Args:
        results: What was measured.

    Returns:
        `SENSITIVITY_COLUMNS`, one row per study, optimizer, hyperparameter and value. The best trial is the one that
        tuning prefers: fewest epochs to the target on validation data and, between equals, the least last loss there,
        which trials that failed do not have. ``chosen`` marks the value of the trial in `chosen`.
    """
    tuning = outcomes(results, "tuning")
    settled = {tuple(row[name] for name in CONTESTANT): row for row in chosen(results).to_dict("records")}
    rows = []
    for name, (contestant, trials) in product(HYPERPARAMETERS, tuning.groupby(CONTESTANT, sort=False)):
        for value, tried in trials.groupby(name):
            best = _best(tried)
            rows.append(
                {
                    **dict(zip(CONTESTANT, contestant, strict=True)),
                    "hyperparameter": name,
                    "value": value,
                    **_counts(tried),
                    "epochs_to_target": math.inf if best is None else best["epochs_to_target"],
                    "validation_loss": math.nan if best is None else best["last_loss"],
                    "chosen": settled[contestant][name] == value,
                }
            )
    return pd.DataFrame(rows, columns=SENSITIVITY_COLUMNS)


def tuning_budgets(results: Results) -> pd.DataFrame:
    """Return how much each optimizer was tuned.

    Args:
        results: What was measured.

    Returns:
        `BUDGET_COLUMNS`, one row per study and optimizer; ``seconds`` of training in all its trials.
    """
    rows = [
        {
            **dict(zip(CONTESTANT, contestant, strict=True)),
            **_counts(tried),
            "seconds": tried["seconds"].astype(float).sum(),
        }
        for contestant, tried in outcomes(results, "tuning").groupby(CONTESTANT, sort=False)
    ]
    return pd.DataFrame(rows, columns=BUDGET_COLUMNS)


def sensitivity_table(results: Results, hyperparameter: str) -> TextTable | None:
    """Show what each value of a hyperparameter came to; None where no optimizer was tuned over two of its values.

    Args:
        results: What was measured.
        hyperparameter: One of `HYPERPARAMETERS`.

    Returns:
        One row per study, optimizer and value.
    """
    found = sensitivities(results)
    found = found[found["hyperparameter"] == hyperparameter]
    found = found[found.groupby(CONTESTANT)["value"].transform("size") > 1]
    rows = [
        [
            study_name(row, found),
            row["optimizer"],
            three(row["value"]) + (CHOSEN if row["chosen"] else ""),
            amount(row["epochs_to_target"]),
            amount(row["validation_loss"]),
            f"{row['trials_reached']} of {row['trials']}",
            str(row["trials_diverged"] or "-"),
        ]
        for row in found.to_dict("records")
    ]
    header = ["problem", "optimizer", hyperparameter, "epochs", "loss", "reached", "diverged"]
    title = (
        f"Tuning by {hyperparameter} on validation data, at the best of all else, * chosen ({device_badge(results)})"
    )
    return TextTable(title, header, rows) if rows else None


def budget_table(results: Results) -> TextTable | None:
    """Show how much each optimizer was tuned."""
    budgets = tuning_budgets(results)
    rows = [
        [
            study_name(row, budgets),
            row["optimizer"],
            str(row["trials"]),
            str(row["trials_reached"]),
            str(row["trials_diverged"] or "-"),
            seconds(row["seconds"]),
        ]
        for row in budgets.to_dict("records")
    ]
    header = ["problem", "optimizer", "trials", "reached", "diverged", "training time"]
    return TextTable(f"What tuning took ({device_badge(results)})", header, rows) if rows else None


def chosen_table(results: Results) -> TextTable | None:
    """Show the hyperparameters that tuning chose, and which lie at the end of what was tried or were not reported."""
    settled = chosen(results)
    rows = [
        [
            study_name(row, settled),
            row["optimizer"] + (SEARCHED if row["role"] == "tuning" else EDGE if row["on_edge"] is True else ""),
            f"{row['batch']:g}",
            *(_value(row[name]) for name in ("lr", "momentum", "damping", "schedule", "clip")),
        ]
        for row in settled.to_dict("records")
    ]
    header = ["problem", "optimizer", "batch", "lr", "momentum", "damping", "schedule", "clip"]
    return TextTable(f"Hyperparameters of the trials ({device_badge(results)})", header, rows) if rows else None


def _value(value: float | str | None) -> str:
    if isinstance(value, str):
        return value
    return "-" if value is None or math.isnan(value) else three(value)
