"""The inverse experiment's figure: ``python -m kfc_bench.report.inverse_figure RESULTS FILE.svg``; needs altair."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd

from kfc_bench.report.files import write_text
from kfc_bench.report.inverses import with_method
from kfc_bench.report.tables import device_badge
from kfc_bench.results.frames import Results, load_results

COLOURS = {
    "cholesky": "#1b6ca8",
    "eigendecomposition": "#2e8b57",
    "newton, warm": "#d35400",
    "newton, cold": "#e6a15c",
}
WIDTH, HEIGHT = 250, 210
SHOWN_DAMPING = 1e-2
SHOWN_FACTORS = 3


def _panel(data: pd.DataFrame, x: Any, y: Any, title: str) -> Any:
    import altair as alt

    scale = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    colour = alt.Color("method:N", scale=scale, legend=alt.Legend(title=None))
    lines = alt.Chart(data).mark_line(point=True, strokeWidth=1.5).encode(x=x, y=y, color=colour)
    return lines.properties(width=WIDTH, height=HEIGHT, title=title)


def figure(results: Results) -> str:
    """Draw residuals over the condition number, and the time of each refresh of a training.

    Args:
        results: Of a run of the suite ``inverses``.

    Returns:
        The SVG file's text.
    """
    import altair as alt
    import vl_convert

    rows = with_method(results.inverses)
    made_up = rows[rows["source"] == "family"].astype({"condition": float, "residual": float, "time_median_s": float})
    trained = rows[(rows["source"] == "training") & (rows["damping"] == SHOWN_DAMPING)]
    keys = ["size", "condition", "method"]
    medians = made_up.groupby(keys, as_index=False)[["residual", "time_median_s"]].median()
    decades = alt.Axis(format=".0e", values=[1e1, 1e3, 1e5, 1e7])
    condition = alt.X("condition:Q", scale=alt.Scale(type="log"), axis=decades)

    def log(field: str, title: str, form: str) -> Any:
        axis = alt.Axis(format=form, title=title, tickCount=5)
        return alt.Y(f"{field}:Q", scale=alt.Scale(type="log"), axis=axis)

    sizes = sorted(medians["size"].unique())
    exact = [
        _panel(part, condition, log("residual", "norm of I - AX, over the root of n", ".0e"), f"n = {size:.0f}")
        for size in sizes
        for part in [medians[medians["size"] == size]]
    ]
    cost = [
        _panel(part, condition, log("time_median_s", "seconds", "~s"), f"n = {size:.0f}")
        for size in sizes
        for part in [medians[medians["size"] == size]]
    ]
    largest = trained.drop_duplicates(["layer", "factor"]).nlargest(SHOWN_FACTORS, "size")
    refreshes = [
        _panel(
            trained[(trained["layer"] == layer) & (trained["factor"] == factor)].astype({"time_median_s": float}),
            alt.X("step:Q"),
            log("time_median_s", "seconds a refresh", "~s"),
            f"{layer}, {factor} (n = {size:.0f})",
        )
        for layer, factor, size in largest[["layer", "factor", "size"]].itertuples(index=False)
    ]
    titles = (
        "Residual of float32 inverses, median over families of matrices",
        "Time of an inverse, median over families",
        f"Time of each refresh while KFC trains on the digits, damping {SHOWN_DAMPING:g}",
    )
    stacked = [
        alt.hconcat(*panels).properties(title=title)
        for title, panels in zip(titles, (exact, cost, refreshes), strict=True)
    ]
    chart = alt.vconcat(*stacked).properties(title=device_badge(results)).configure_title(anchor="start")
    return str(vl_convert.vegalite_to_svg(chart.to_json()))


def main() -> None:
    """Draw the results folder given first into the file given second."""
    folder, path = map(Path, sys.argv[1:])
    write_text(figure(load_results([folder])), path)


if __name__ == "__main__":
    main()
