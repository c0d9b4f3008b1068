"""How much sooner than SGD an optimizer meets the target, seed by seed."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import pandas as pd

from kfc_bench.report.epoch_cost import EPOCH_COST_COLUMNS, epoch_costs
from kfc_bench.report.mean_ratio import MeanRatio, mean_ratio
from kfc_bench.report.outcomes import MEASURES, SEED, SGD, STUDY, outcomes
from kfc_bench.results.frames import Results

TUNED = ["batch", "lr", "momentum", "damping", "weight_decay", "schedule", "clip", "averaging", "on_edge"]
SPEEDUP_COLUMNS = [f"{measure}_speedup{part}" for measure in MEASURES for part in ("", "_low", "_high", "_bound")]
TIME_TO_TARGET_COLUMNS = [
    *STUDY,
    "optimizer",
    "target_metric",
    "target_value",
    "seeds",
    "seeds_reached",
    "seeds_diverged",
    *(f"{measure}_to_target" for measure in MEASURES),
    "pairs",
    *SPEEDUP_COLUMNS,
    *EPOCH_COST_COLUMNS,
    "final_test_error",
    *TUNED,
]

Bound = Literal["", "at least", "at most"]
OPPOSITE: dict[Bound, Bound] = {"at least": "at most", "at most": "at least"}
"""What bounds how much slower something is, where the other bounds how much faster."""


class Speedup(NamedTuple):
    """SGD's way to the target over an optimizer's own: above 1 the optimizer is sooner there.

    Attributes:
        mean: Over pairs of the same seed; NaN where nothing can be said.
        bound: Whether the true mean is ``at least`` or ``at most`` that, because trials ended without the target.
    """

    mean: MeanRatio
    bound: Bound


UNKNOWN = Speedup(MeanRatio(math.nan, math.nan, math.nan), "")


def speedup(pairs: pd.DataFrame, measure: str) -> Speedup:
    """Average SGD's way to the target over the optimizer's own, over pairs of trials.

    A trial that never met the target would have needed more than all of its length. Where that befell one side only,
    its length in place of the missing way bounds the mean; where it befell both sides, nothing is known. Nor is it
    where a trial of either side diverged or failed: such a trial has no length, the earlier it was lost the sooner it
    would seem to have arrived.

    Args:
        pairs: From `paired_with_sgd`.
        measure: One of `MEASURES`.

    Returns:
        The geometric mean and its 95 % interval; a bound has no interval.
    """
    if pairs.empty or not (pairs["ended"] & pairs["ended_sgd"]).all():
        return UNKNOWN
    way, base = pairs[f"{measure}_to_target"], pairs[f"{measure}_to_target_sgd"]
    met, met_base = way < math.inf, base < math.inf
    way, base = way.where(met, pairs[f"{measure}_run"]), base.where(met_base, pairs[f"{measure}_run_sgd"])
    measurable = (way > 0) & (base > 0)
    if not (measurable & (met | met_base)).all():
        return UNKNOWN
    mean = mean_ratio(way.tolist(), base.tolist())
    if met.all() and met_base.all():
        return Speedup(mean, "")
    if not (met.all() or met_base.all()):
        return UNKNOWN
    return Speedup(MeanRatio(mean.ratio, math.nan, math.nan), "at least" if met.all() else "at most")


def paired_with_sgd(own: pd.DataFrame, study: pd.DataFrame) -> pd.DataFrame:
    """Set beside each trial SGD's of the same seed, its columns ending in ``_sgd``; trials without one are left out."""
    return own.merge(study[study["optimizer"] == SGD], on=SEED, suffixes=("", "_sgd"), validate="one_to_one")


def against_sgd(results: Results) -> pd.DataFrame:
    """Summarise the reporting trials of each optimizer of each study.

    Args:
        results: What was measured.

    Returns:
        One row per study and optimizer, `TIME_TO_TARGET_COLUMNS`: medians over seeds, those that never met the target
        at infinity; speed-ups over SGD; the hyperparameters that tuning chose.
    """
    trials = outcomes(results, "report")
    rows = []
    for key, study in trials.groupby(STUDY, sort=False):
        for name, own in study.groupby("optimizer", sort=False):
            pairs = paired_with_sgd(own, study)
            row = {
                **dict(zip(STUDY, key, strict=True)),
                "optimizer": name,
                "seeds": len(own),
                "seeds_reached": int((own["steps_to_target"] < math.inf).sum()),
                "seeds_diverged": int(own["diverged"].sum()),
                **{f"{measure}_to_target": own[f"{measure}_to_target"].median() for measure in MEASURES},
                "pairs": len(pairs),
                "final_test_error": own.loc[own["ended"], "final_test_error"].median(),
                **{column: own[column].iloc[0] for column in ("target_metric", "target_value", *TUNED)},
            }
            for measure in MEASURES:
                found = speedup(pairs, measure) if name != SGD else UNKNOWN
                row[f"{measure}_speedup"], row[f"{measure}_speedup_low"], row[f"{measure}_speedup_high"] = found.mean
                row[f"{measure}_speedup_bound"] = found.bound
            rows.append({**row, **epoch_costs(own, pairs)})
    return pd.DataFrame(rows, columns=TIME_TO_TARGET_COLUMNS)
