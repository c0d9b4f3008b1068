"""What the inverse experiment found: how exact each way is by condition, what each costs by size and by refresh."""

from __future__ import annotations

import pandas as pd

from kfc_bench.report.tables import TextTable, device_badge
from kfc_bench.report.units import seconds
from kfc_bench.results.frames import Results

METHODS = ("cholesky", "reference", "eigendecomposition", "newton, warm", "newton, cold")


def with_method(inverses: pd.DataFrame) -> pd.DataFrame:
    """Add ``method``: the implementation, and of an iteration its start."""
    start = inverses["start"].astype(object)
    named = inverses["implementation"].astype(str) + (", " + start.astype(str)).where(start.notna(), "")
    return inverses.assign(method=named)[inverses["status"] == "ok"]


def _exponent(value: float) -> str:
    return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")


def family_table(results: Results) -> TextTable | None:
    """Show the residual of each method by size and condition: median over families, and what failed."""
    rows = with_method(results.inverses)
    rows = rows[rows["source"] == "family"]
    if rows.empty:
        return None
    methods = [name for name in METHODS if name in set(rows["method"])]
    lines = []
    for (size, condition), group in rows.groupby(["size", "condition"]):
        own = {name: group[group["method"] == name] for name in methods}
        raised = {name: int(part["raised"].sum()) for name, part in own.items()}
        iterations = group["iterations"].dropna().astype(float)
        lines.append(
            [
                f"{size:.0f}",
                f"{condition:.0e}".replace("e+0", "e"),
                *(_exponent(part["residual"].median()) for part in own.values()),
                f"{iterations.median():.0f}" if len(iterations) else "-",
                ", ".join(f"{name.split(',')[0]} {count}" for name, count in raised.items() if count) or "-",
                *(seconds(part["time_median_s"].median()) for part in own.values()),
            ]
        )
    header = ["size", "condition", *(f"residual, {name}" for name in methods), "iterations", "more damping"]
    families = rows["family"].nunique()
    return TextTable(
        f"Damped inverses of {families} families of matrices: medians over families ({device_badge(results)})",
        [*header, *(f"time, {name}" for name in methods)],
        lines,
    )


def refresh_table(results: Results) -> TextTable | None:
    """Show what each method takes at a refresh of a training's factors: medians over refreshes."""
    rows = with_method(results.inverses)
    rows = rows[rows["source"] == "training"]
    if rows.empty:
        return None
    methods = [name for name in METHODS if name in set(rows["method"])]
    iterative = [name for name in methods if name.startswith("newton")]
    lines = []
    for (layer, factor, damping), group in rows.groupby(["layer", "factor", "damping"], sort=False):
        own = {name: group[group["method"] == name] for name in methods}
        worst = {name: part["residual"].max() for name, part in own.items()}
        lines.append(
            [
                f"{layer}, {factor}",
                f"{group['size'].iloc[0]:.0f}",
                f"{damping:g}",
                f"{group['condition'].max():.2g}",
                *(f"{own[name]['iterations'].astype(float).median():g}" for name in iterative),
                *(_exponent(residual) for residual in worst.values()),
                *(seconds(part["time_median_s"].median()) for part in own.values()),
            ]
        )
    header = ["factor", "size", "damping", "condition", *(f"iterations, {name}" for name in iterative)]
    header += [f"worst residual, {name}" for name in methods]
    return TextTable(
        f"Damped inverses at the refreshes of a training: medians over refreshes ({device_badge(results)})",
        [*header, *(f"time, {name}" for name in methods)],
        lines,
    )
