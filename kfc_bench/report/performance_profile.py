"""Performance profiles: how often an optimizer is within a factor of the best (Dolan & More 2002)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from kfc_bench.report.outcomes import SEED, STUDY, outcomes
from kfc_bench.report.tables import TextTable, device_badge
from kfc_bench.report.units import three
from kfc_bench.results.frames import Results

MOST = 4.0
"""The largest factor that counts, as in AlgoPerf (Dahl et al. 2023)."""

SHOWN = (1.0, 2.0)
"""Factors that the table gives shares at; the area sums up all."""
COMPARED = {"epochs": "epochs", "seconds": "time"}
"""Batches are tuned, so that steps are not alike where epochs are."""

PROFILE_COLUMNS = ["measure", "optimizer", "tau", "share", "runs", "area"]
_RUN = [*STUDY, *SEED]


def factors(trials: pd.DataFrame, measure: str) -> pd.Series:
    """Divide each trial's way to the target by the best optimizer's of the same problem and seed.

    Args:
        trials: From `kfc_bench.report.outcomes.outcomes`.
        measure: ``"epochs"`` or ``"seconds"``.

    Returns:
        At least 1; infinite where the target was not met.
    """
    way = trials[f"{measure}_to_target"]
    best = way.groupby([trials[name] for name in _RUN]).transform("min")
    # 0 / 0: both met it before the first step.
    return (way / best).fillna(1.0).where(way < math.inf, math.inf)


def performance_profiles(results: Results) -> pd.DataFrame:
    """Return each optimizer's profile as a staircase: where it rises, up to `MOST`.

    Args:
        results: What was measured.

    Returns:
        `PROFILE_COLUMNS`: ``share`` of an optimizer's ``runs`` (problems times seeds) whose way to the target is at
        most ``tau`` times the best optimizer's; ``area`` under the staircase from 1 to `MOST` over `MOST` - 1,
        AlgoPerf's score, 1 of an optimizer that is always the best.
    """
    trials = outcomes(results, "report")
    rows = []
    for measure in COMPARED:
        for name, own in factors(trials, measure).groupby(trials["optimizer"], sort=False):
            steps = sorted({1.0, MOST, *own[own <= MOST]})
            area = float(np.mean((MOST - own.clip(upper=MOST)) / (MOST - 1)))
            rows += [(measure, name, tau, float((own <= tau).mean()), len(own), area) for tau in steps]
    return pd.DataFrame(rows, columns=PROFILE_COLUMNS)


def _share_at(staircase: pd.DataFrame, tau: float) -> str:
    return f"{100 * staircase.loc[staircase['tau'] <= tau, 'share'].iloc[-1]:.0f} %"


def profile_table(results: Results) -> TextTable | None:
    """Show how often each optimizer is the best, or within a factor of it; None where only one was trained."""
    profiles = performance_profiles(results)
    if profiles["optimizer"].nunique() < 2:
        return None
    trials = outcomes(results, "report")
    best_first = profiles[profiles["measure"] == "seconds"].drop_duplicates("optimizer")
    rows = []
    for name in best_first.sort_values("area", ascending=False, kind="stable")["optimizer"]:
        own = profiles[profiles["optimizer"] == name]
        row = [name, str(own["runs"].iloc[0])]
        for measure in COMPARED:
            staircase = own[own["measure"] == measure]
            row += [*(_share_at(staircase, tau) for tau in SHOWN), three(staircase["area"].iloc[0])]
        rows.append(row)
    header = ["optimizer", "runs"]
    for words in COMPARED.values():
        header += [f"{words} {SHOWN[0]:g}x", *(f"{tau:g}x" for tau in SHOWN[1:]), "area"]
    problems, runs = trials.drop_duplicates(STUDY), len(trials.drop_duplicates(_RUN))
    one = f"{runs} seeds of one problem, {problems['problem'].iloc[0]}"
    over = one if len(problems) == 1 else f"{runs} runs of {len(problems)} problems"
    return TextTable(f"Performance profiles over {over} ({device_badge(results)})", header, rows)
