"""Our best implementation of each operator beside the fastest contestant: where we lead, and where not."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from kfc_bench.report.names import described, is_contestant
from kfc_bench.report.operators import COMPARED, is_timed, operator_rows, speedup
from kfc_bench.report.tables import TextTable, device_badge
from kfc_bench.report.units import ratio, seconds
from kfc_bench.results.frames import Results

EVEN = 0.03
"""How far from 1 a ratio may be that is called even, as in `kfc-bench compare`."""

CONTEST = ["env_id", "operator", "dtype", "precision", "cache"]


def leads(cost: pd.DataFrame) -> pd.DataFrame:
    """Set our fastest implementation of each case beside the fastest contestant.

    Args:
        cost: The cost frame.

    Returns:
        One row per case that both have: `COMPARED`, ``ours`` and ``other`` (names), their times in seconds ``ours_s``
        and ``other_s``, ``speedup`` (above 1: we are faster) with its 95 % interval ``speedup_low`` and
        ``speedup_high`` where both were visited in turn, and ``memory`` (the contestant's peak over ours).
    """
    rows = operator_rows(cost)
    rows = rows[is_timed(rows) & ~rows["whole_pass"].astype(bool)].sort_values("time_median_s")
    ours = [not is_contestant(str(name)) for name in rows["implementation"]]
    found: list[dict[str, Any]] = []
    for key, group in rows.assign(ours=ours).groupby([*COMPARED, "launch_hidden"], sort=False, dropna=False):
        if group["ours"].nunique() < 2:
            continue
        best, other = group[group["ours"]].iloc[0], group[~group["ours"]].iloc[0]
        faster, low, high = speedup(best, other)
        found.append(
            {
                **dict(zip(COMPARED, key, strict=False)),
                "ours": best["implementation"],
                "other": other["implementation"],
                "ours_s": best["time_median_s"],
                "other_s": other["time_median_s"],
                "speedup": faster,
                "speedup_low": low,
                "speedup_high": high,
                "memory": other["peak_memory_bytes"] / max(1, best["peak_memory_bytes"]),
            }
        )
    return pd.DataFrame(found)


def verdict(row: pd.Series[Any]) -> str:
    """Call a case faster, slower, or even: within `EVEN` of 1, or an interval that holds 1."""
    if abs(row["speedup"] - 1) <= EVEN or row["speedup_low"] <= 1 <= row["speedup_high"]:
        return "even"
    return "faster" if row["speedup"] > 1 else "slower"


def lead_tables(results: Results) -> list[TextTable]:
    """Show, one row an operator, how often and by how much our best is faster than the fastest contestant.

    Args:
        results: What was measured.

    Returns:
        One table per device, dtype and precision in which more than one operator met contestants.
    """
    found = leads(results.cost)
    if found.empty:
        return []
    found = found.assign(verdict=[verdict(row) for _, row in found.iterrows()])
    shown = []
    for key, group in found.groupby([name for name in CONTEST if name != "operator"], sort=False, dropna=False):
        env_id, dtype, precision, _ = key
        if group["operator"].nunique() < 2:
            continue
        kind = f"{dtype}" + ("" if precision == "ieee" else f", {precision}")
        title = f"Our best beside the fastest contestant, {kind} ({device_badge(results, str(env_id))})"
        header = ["operator", "cases", "faster", "even", "slower", "time, geometric mean", "memory", "least", "there"]
        rows = [_row(str(operator), own) for operator, own in group.groupby("operator", sort=False)]
        shown.append(TextTable(title, header, rows))
    return shown


def _row(operator: str, own: pd.DataFrame) -> list[str]:
    counts = own["verdict"].value_counts()
    worst = own.sort_values("speedup").iloc[0]
    where = f"{worst['layer']}, batch {worst['batch']}: {worst['ours']} {seconds(worst['ours_s'])}"
    return [
        operator,
        str(len(own)),
        *(str(counts.get(name, 0)) for name in ("faster", "even", "slower")),
        ratio(math.exp(own["speedup"].map(math.log).mean())),
        ratio(math.exp(own["memory"].map(lambda share: math.log(max(share, 1e-9))).mean())),
        ratio(worst["speedup"]),
        f"{where}, {described(str(worst['other']))} {seconds(worst['other_s'])}",
    ]
