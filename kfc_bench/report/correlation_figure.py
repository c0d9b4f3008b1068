"""The paper's Figs. 3 and 4: ``python -m kfc_bench.report.correlation_figure RESULTS FILE.svg``; needs altair."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kfc_bench.report.files import write_text
from kfc_bench.report.tables import device_badge
from kfc_bench.results.frames import Results, load_results
from kfc_bench.results.schema import Record

TITLES = {
    "derivative": "Derivatives of pre-activations, labels sampled from the model (Fig. 3)",
    "activation": "Activations (Fig. 4)",
}
CHART = ["problem", "epochs", "quantity"]
PANEL = 65
"""Pixels of a panel: 13 displacements of 5 each, or up to 32 maps of 2 each, so that no cell has a ragged edge."""

FAINTEST = 0.01
"""Below, a cell is as good as white and not drawn: most of the file's size."""


def _cells(grid: Sequence[Sequence[float | None]]) -> Iterator[dict[str, Any]]:
    side = PANEL // len(grid)
    for row, values in enumerate(grid):
        for column, value in enumerate(values):
            if value is not None and value >= FAINTEST:
                left, top = column * side, row * side
                yield {"left": left, "right": left + side, "top": top, "bottom": top + side, "correlation": value}


def _panels(record: Record) -> Iterator[tuple[str, Sequence[Sequence[float | None]]]]:
    """Yield titles and grids; of what is symmetric, one half."""
    for number, grid in enumerate(record["maps"]["spatial"], start=1):
        yield f"{record['layer']}, map {number}", grid
    yield f"{record['layer']}, across", [row[: place + 1] for place, row in enumerate(record["maps"]["cross"])]


def _chart(records: list[Record], title: str) -> Any:
    import altair as alt

    cells = [
        {"network": record["network"], "panel": panel, **cell}
        for record in records
        for panel, grid in _panels(record)
        for cell in _cells(grid)
    ]
    panels = list(dict.fromkeys(cell["panel"] for cell in cells))
    pixels = alt.Scale(domain=[0, PANEL], nice=False)
    grey = alt.Scale(domain=[0, 1], range=["white", "black"], interpolate="rgb")
    header = alt.Header(title=None, labelFontSize=9)
    return (
        alt.Chart(alt.InlineData(values=cells))
        .mark_rect(aria=False)
        .encode(
            x=alt.X("left:Q", scale=pixels, axis=None),
            x2="right:Q",
            y=alt.Y("top:Q", scale=alt.Scale(domain=[PANEL, 0], nice=False), axis=None),
            y2="bottom:Q",
            color=alt.Color("correlation:Q", scale=grey, legend=alt.Legend(title="|correlation|")),
        )
        .properties(width=PANEL, height=PANEL)
        .facet(
            row=alt.Row("network:N", sort=None, header=header),
            column=alt.Column("panel:N", sort=panels, header=header),
            spacing=6,
        )
        .properties(title=title)
    )


def _groups(rows: pd.DataFrame) -> Iterator[tuple[Any, pd.DataFrame]]:
    return iter(rows.groupby(CHART, sort=False))


def figure(results: Results) -> str:
    """Draw, for every layer, three maps' correlations by displacement and 32 maps' correlations with each other.

    Args:
        results: Of a run of the suite ``correlation``.

    Returns:
        The SVG file's text; of several seeds the first.
    """
    import altair as alt
    import vl_convert

    rows = results.correlation[results.correlation["layer"].notna()]
    one_seed = rows.drop_duplicates([*CHART, "network", "layer"])
    charts = [
        _chart([dict(row) for _, row in own.iterrows()], f"{TITLES[quantity]}, {problem}, {epochs:g} epochs")
        for (problem, epochs, quantity), own in _groups(one_seed)
    ]
    chart = alt.vconcat(*charts).properties(title=device_badge(results)).configure_title(anchor="start")
    return str(vl_convert.vegalite_to_svg(chart.to_json()))


def main() -> None:
    """Draw the results folder given first into the file given second."""
    folder, path = map(Path, sys.argv[1:])
    write_text(figure(load_results([folder])), path)


if __name__ == "__main__":
    main()
