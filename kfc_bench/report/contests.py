"""Implementations of one operator side by side, layer by layer: the short form of what was raced against what."""

from __future__ import annotations

import pandas as pd

from kfc_bench.report.names import described
from kfc_bench.report.operators import is_timed, operator_rows
from kfc_bench.report.tables import TextTable, device_badge, spread
from kfc_bench.report.units import seconds, size
from kfc_bench.results.frames import Results

MOST_COLUMNS = 6
"""Layers and batches side by side; of more, so many are shown, evenly spread."""

CONTEST = ["env_id", "operator", "dtype", "precision", "cache", "whole_pass"]


def contest_tables(results: Results) -> list[TextTable]:
    """Show each operator's implementations by layer: time of a call and the memory it peaks at.

    Args:
        results: What was measured.

    Returns:
        One table per operator, precision and cache in which several implementations were timed; the fastest first, by
        the median over layers of their time beside the fastest there.
    """
    rows = operator_rows(results.cost)
    timed = rows[is_timed(rows)]
    tables = []
    for key, group in timed.groupby(CONTEST, sort=False, dropna=False):
        env_id, operator, dtype, precision, cache, whole_pass = key
        if group["implementation"].nunique() > 1:
            what = f"{operator}, {dtype}" + ("" if precision == "ieee" else f", {precision}")
            caches = ", cold cache" if cache == "cold" else ""
            call = "a whole pass" if whole_pass else "a call"
            title = f"{what}{caches}: time of {call} and its peak memory ({device_badge(results, str(env_id))})"
            tables.append(_contest(title, group))
    return tables


def _contest(title: str, group: pd.DataFrame) -> TextTable:
    fastest = group.groupby(["layer", "batch"])["time_median_s"].transform("min")
    places = group[["layer", "batch"]].drop_duplicates().itertuples(index=False, name=None)
    columns = spread(list(places), MOST_COLUMNS)
    order = (group["time_median_s"] / fastest).groupby(group["implementation"]).median().sort_values()
    cells = {
        (row["implementation"], row["layer"], row["batch"]): f"{seconds(row['time_median_s'])}, "
        f"{size(row['peak_memory_bytes'])}"
        for row in group.to_dict("records")
    }
    rows = [
        [described(str(name)), *(cells.get((name, layer, batch), "-") for layer, batch in columns)]
        for name in order.index
    ]
    return TextTable(title, ["implementation", *(f"{layer}, batch {batch}" for layer, batch in columns)], rows)
