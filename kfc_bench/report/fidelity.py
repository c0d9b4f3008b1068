"""How close each approximation is to the exact Fisher matrix: at the end of training, and on the way there."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from kfc_bench.report.names import APPROXIMATIONS
from kfc_bench.report.tables import TextTable, device_badge
from kfc_bench.report.units import three
from kfc_bench.results.frames import Results

METRICS = {
    "trace_ratio": "trace",
    "stein": "Stein",
    "kl": "KL",
    "cosine": "cosine",
    "model_decrease": "model decrease",
    "loss_decrease": "loss decrease",
}
OF_SCALE = ["frobenius", "trace_ratio", "stein", "kl"]
"""What PRONG has not: its matrix is of another scale. Damping is added at that scale, so its steps move with it too."""

ROUNDING = 1e-9
"""What differs from zero by less is float64's rounding of sums over a network's parameters."""


def with_names(fidelity: pd.DataFrame) -> pd.DataFrame:
    """Add ``name``: the approximation, and its source where that is not the exact expectation; only what is ``ok``."""
    rows = fidelity[(fidelity["status"] == "ok") & fidelity["approximation"].notna()]
    source = rows["source"].astype(object)
    named = rows["approximation"].astype(str) + (" (" + source.astype(str) + ")").where(source != "type2", "")
    return rows.assign(name=named)


def fidelity_tables(results: Results) -> list[TextTable]:
    """Show every metric of the most trained networks, by damping, and errors and decreases over training.

    Args:
        results: What was measured.

    Returns:
        Two tables per damping, and one of errors, which know none; nothing where nothing was compared. PRONG has only
        what its step does: its matrix is of another scale, beside which the same damping is another share.
    """
    rows = with_names(results.fidelity)
    if rows.empty:
        return []
    rows.loc[rows["approximation"] == "prong", OF_SCALE] = math.nan
    badge = device_badge(results)
    whole = rows[rows["layer"].isna()]
    tables = [_course_table(whole, "frobenius", f"Error of the whole network's matrix over training ({badge})")]
    for damping, own in rows.groupby("damping"):
        where = f"damping {damping:g} ({badge})"
        last = own["epoch"] == own.groupby("network")["epoch"].transform("max")
        title = f"Model decrease of the whole network's step over training, {where}"
        tables += [_metrics_table(own[last], where), _course_table(own[own["layer"].isna()], "model_decrease", title)]
    return tables


def _metrics_table(rows: pd.DataFrame, where: str) -> TextTable:
    networks = ", ".join(f"{network} after {epoch:g} epochs" for network, epoch in _times(rows))
    lines = []
    for name in _in_order(rows):
        own = rows[rows["name"] == name]
        whole = own[own["layer"].isna()]
        blocks = own[own["layer"].notna()]
        indefinite = int((blocks["indefinite"] > 0).sum())
        lines.append(
            [
                name,
                _median(blocks["frobenius"]),
                _median(whole["frobenius"]),
                *(_median(whole[metric]) for metric in METRICS),
                f"{indefinite} of {len(blocks)}" if indefinite else "-",
            ]
        )
    return TextTable(
        f"Approximations beside the exact Fisher matrix, medians over {networks} and seeds, {where}",
        ["approximation", "error, layers", "error, network", *METRICS.values(), "indefinite layers"],
        lines,
    )


def _course_table(whole: pd.DataFrame, metric: str, title: str) -> TextTable:
    """Show one metric by network and epoch, of the approximations that the suite ships."""
    names = [name for name in APPROXIMATIONS if name != "exact" and name in set(whole["name"])]
    lines = []
    for network, epoch in _times(whole):
        own = whole[(whole["network"] == network) & (whole["epoch"] == epoch)]
        lines.append([network, f"{epoch:g}", *(_median(own.loc[own["name"] == name, metric]) for name in names)])
    return TextTable(f"{title}: medians over seeds", ["network", "epoch", *names], lines)


def _times(rows: pd.DataFrame) -> list[tuple[str, float]]:
    """List networks and their epochs, in the order of the records."""
    found = rows[["network", "epoch"]].drop_duplicates()
    return list(zip(found["network"].astype(str), found["epoch"].astype(float), strict=True))


def _in_order(rows: pd.DataFrame) -> list[str]:
    """List the names of the rows with the closest first, by the median error of whole networks."""
    whole = rows.assign(error=rows["frobenius"].astype(float))[rows["layer"].isna()]
    return [str(name) for name in whole.groupby("name", sort=False)["error"].median().sort_values(kind="stable").index]


def _median(values: pd.Series[Any]) -> str:
    """Write the median; there is none where a case lacks the number, as the others alone would not compare."""
    numbers = pd.to_numeric(values)
    if numbers.empty or numbers.isna().any():
        return "-"
    middle = float(numbers.median())
    return "0" if math.isclose(middle, 0, abs_tol=ROUNDING) else three(middle)
