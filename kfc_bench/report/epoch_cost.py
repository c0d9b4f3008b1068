"""What an epoch of training costs beside SGD's (App. B.3 of Grosse & Martens 2016)."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from kfc_bench.report.mean_ratio import mean_ratio

EPOCH_COST_COLUMNS = ["epoch_s", "epoch_ratio", "epoch_ratio_low", "epoch_ratio_high"]
PAPER_BOUND = 2.0
"""The paper chose its periods so that an epoch of KFC took less than twice SGD's."""


def epoch_costs(own: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Any]:
    """Average training seconds per epoch over trials that went to their end.

    A trial's seconds hold its initialisation, here spread over its epochs; evaluation is outside.

    Args:
        own: An optimizer's trials, from `kfc_bench.report.outcomes.outcomes`.
        pairs: The same with SGD's of the same seeds beside them, ending in ``_sgd``.

    Returns:
        `EPOCH_COST_COLUMNS`: the median over trials, and the geometric mean of the pairs' ratios to SGD (above 1: an
        epoch costs more) with its 95 % interval.
    """
    ended = own[own["ended"]]
    both = pairs[pairs["ended"] & pairs["ended_sgd"]]
    seconds = both["seconds_run"] / both["epochs_run"]
    base = both["seconds_run_sgd"] / both["epochs_run_sgd"]
    known = (seconds > 0) & (base > 0)
    mean = mean_ratio(base[known].tolist(), seconds[known].tolist())
    return {
        "epoch_s": (ended["seconds_run"] / ended["epochs_run"]).median(),
        **dict(zip(EPOCH_COST_COLUMNS[1:], mean, strict=True)),
    }


def within_bound(low: float, high: float) -> str:
    """Say whether an epoch costs less than the paper's bound: ``yes`` or ``no`` where the interval is on one side."""
    if math.isnan(low):
        return "-"
    return "yes" if high < PAPER_BOUND else "no" if low > PAPER_BOUND else "unclear"
