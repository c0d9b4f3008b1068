"""What each operator's implementations computed, and how fast beside one another."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kfc_bench.report.names import described, is_whole_pass, what_ran
from kfc_bench.report.pairs import paired
from kfc_bench.report.tables import TextTable, device_badge, spread
from kfc_bench.report.units import ratio, seconds, size, three
from kfc_bench.results.frames import Results
from kfc_bench.results.schema import STATUSES

LEAST_VISITS = 12
"""Times from fewer visits are shown in no table: they check a result, they measure nothing."""

MOST_CASES = 30
"""Cases in a table, each with all that was compared; of more, so many are shown, evenly spread."""

COMPARED = ["env_id", "operator", "layer", "batch", "dtype", "precision", "cache", "whole_pass"]
"""What implementations share that are set beside one another."""

SPEEDUP = ["speedup", "speedup_low", "speedup_high"]


def speedup(row: pd.Series[Any], other: pd.Series[Any]) -> tuple[float, float, float]:
    """Divide another row's time by this one's: above 1, this one is faster.

    Args:
        row: A row of the cost frame.
        other: Another, of the same case.

    Returns:
        The ratio and its 95 % interval, paired round by round; of rows not visited in turn, the interval is NaN.
    """
    in_turn = paired(row.to_dict(), other.to_dict())
    if in_turn is None:
        return other["time_median_s"] / row["time_median_s"], float("nan"), float("nan")
    return in_turn.ratio, *(in_turn.interval() or (float("nan"), float("nan")))


def beside_the_fastest_other(cost: pd.DataFrame) -> pd.DataFrame:
    """Set each operator's time beside the fastest other implementation's of the same case.

    Implementations that are timed with a whole forward and backward pass are compared among themselves.

    Args:
        cost: The cost frame.

    Returns:
        The operators' rows, all statuses, with ``fastest_other`` (its name) and ``speedup`` (its time over this one's:
        above 1, this one is faster), paired round by round with its 95 % interval ``speedup_low`` and ``speedup_high``
        where both were visited in turn; all are empty where nothing else ran, or from fewer than `LEAST_VISITS` visits.
    """
    rows = operator_rows(cost).reset_index(drop=True)
    rows = rows.assign(fastest_other=None, **dict.fromkeys(SPEEDUP, float("nan")))
    timed = rows[is_timed(rows)]
    # Times with and without launch latency do not compare.
    key = [*COMPARED, "launch_hidden"]
    rivals = timed[timed.duplicated(key, keep=False)].sort_values("time_median_s")
    for _, group in rivals.groupby(key, sort=False, dropna=False):
        for index in group.index:
            other = group.drop(index).iloc[0]
            rows.loc[index, "fastest_other"] = other["implementation"]
            rows.loc[index, SPEEDUP] = speedup(group.loc[index], other)
    return rows


def operator_rows(cost: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of operators, with ``whole_pass``: whether a library was called as its users call it."""
    rows = cost[cost["operator"].notna()]
    return rows.assign(whole_pass=rows["implementation"].map(is_whole_pass))


def is_timed(rows: pd.DataFrame) -> pd.Series[bool]:
    """Tell which rows hold a time that counts: from `LEAST_VISITS` visits or more."""
    return (rows["status"] == "ok") & (rows["visits"] >= LEAST_VISITS)


def operator_tables(results: Results) -> list[TextTable]:
    """Show, one table an operator, its implementations' times beside the fastest other.

    Args:
        results: What was measured.

    Returns:
        The tables, without what was not tried; an operator that was nowhere visited `LEAST_VISITS` times has none.
    """
    rows = operator_rows(results.cost)
    tables = []
    for operator, own in rows.groupby("operator", sort=False):
        cases = own.loc[is_timed(own), COMPARED].drop_duplicates()
        if cases.empty:
            continue
        places = spread(list(range(len(cases))), MOST_CASES)
        part = "" if len(places) == len(cases) else f", {len(places)} of {len(cases)} cases"
        shown = beside_the_fastest_other(cases.iloc[places].merge(own, on=COMPARED, how="left"))
        energy = bool(own["energy_j"].notna().any())
        header = ["layer", "batch", "precision", "implementation", "time", "95 % interval", "against fastest other"]
        header += ["fastest other", "memory", "of the limit", *(["energy a call"] if energy else [])]
        cells = [
            _row(row, energy)
            for _, group in shown.groupby(COMPARED, sort=False, dropna=False)
            for _, row in group.sort_values("time_median_s", na_position="last").iterrows()
            if row["status"] != "unsupported"
        ]
        tables.append(TextTable(f"{operator}: time of a call ({device_badge(results)}){part}", header, cells))
    return tables


def _row(row: pd.Series[Any], energy: bool) -> list[str]:
    place = [str(row["layer"]), str(row["batch"]), str(row["precision"]), described(str(row["implementation"]))]
    if row["status"] != "ok":
        return [*place, str(row["status"]), *["-"] * (5 + energy)]
    interval = "-"
    if row["time_ci_low_s"] > 0:
        interval = f"{seconds(row['time_ci_low_s'])} to {seconds(row['time_ci_high_s'])}"
    other = row["fastest_other"]
    limit = row["percent_of_limit"]
    return [
        *place,
        seconds(row["time_median_s"]),
        interval,
        ratio(row["speedup"])
        + (f" [{three(row['speedup_low'])}, {three(row['speedup_high'])}]" if row["speedup_low"] > 0 else ""),
        described(other) if isinstance(other, str) else "-",
        size(row["peak_memory_bytes"]),
        (f"{three(limit)} %" if limit >= 0 else "-") + (" (suspect)" if row["suspect"] is True else ""),
        *([f"{three(row['energy_j'])} J" if row["energy_j"] >= 0 else "-"] if energy else []),
    ]


def correctness_table(results: Results) -> TextTable | None:
    """Count, by what ran, the cases that were right, and the largest error as a share of what is allowed.

    Args:
        results: What was measured.

    Returns:
        The table; None without cost records.
    """
    cost = results.cost
    if cost.empty:
        return None
    share = cost["rel_error"] / cost["error_gate"]
    present = [status for status in STATUSES if (cost["status"] == status).any()]
    rows = []
    keyed = cost.assign(what=what_ran(cost), share=share, implementation=cost["implementation"].fillna("-"))
    for (name, implementation), group in keyed.groupby(["what", "implementation"], sort=False):
        counts = group["status"].value_counts()
        worst = group["share"].max()
        rows.append(
            [
                str(name),
                described(str(implementation)),
                *(str(counts.get(status, 0)) for status in present),
                "-" if pd.isna(worst) else f"{three(100 * worst)} %",
            ]
        )
    header = ["what", "implementation", *present, "largest error, of the allowed"]
    return TextTable(f"Checked against float64 ({device_badge(results)})", header, rows)
