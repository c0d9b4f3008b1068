"""Figs. 1, 2 and 5 drawn from the results, each panel beside the paper's digitised one; needs altair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kfc_bench.report.paper.evidence import Evidence, Section
from kfc_bench.report.paper.reference import reference
from kfc_bench.report.paper.verdicts import DATA

WIDTH, HEIGHT = 260, 200
GRID = 100
"""Points at which the curves of several seeds are compared."""

DRAWN = {
    "fig1": ("fig1", "seconds", ("train_error", "test_error", "train_loss", "test_loss")),
    "fig2": ("fig2", "step", ("train_error", "test_error")),
    "fig5": ("fig5", "seconds", ("train_error", "test_error", "train_loss", "test_loss")),
}
"""By picture: the suite's part, the clock, the metrics."""


def sections(evidence: Evidence, picture: str) -> dict[str, Section]:
    """Return what a picture can be drawn from, by the data set's name; the stand-in once, where neither was run.

    Args:
        evidence: The results.
        picture: A key of `DRAWN`.

    Returns:
        The sections.
    """
    found = {name: evidence.section(name, DRAWN[picture][0]) for name in ("cifar10", "svhn")}
    own = {name: section for name, section in found.items() if section is not None and not section.missing}
    stand_in = found["cifar10"]
    return own or ({"fashion": stand_in} if stand_in is not None else {})


def bands(curves: pd.DataFrame, clock: str, metric: str) -> pd.DataFrame:
    """Return median and range over seeds of an optimizer's curves, on a grid that every seed covers.

    A logarithmic axis has no place for zeros: evaluations without an error are left out.

    Args:
        curves: The evaluations of one optimizer.
        clock: The column that time is read from.
        metric: The column drawn.

    Returns:
        Columns ``clock``, ``median``, ``low``, ``high``; empty where nothing was evaluated.
    """
    seeds = [own[own[metric] > 0] for _, own in curves.groupby(["network", "batch", "seed"])]
    seeds = [own for own in seeds if not own.empty]
    if not seeds:
        return pd.DataFrame(columns=["clock", "median", "low", "high"])
    grid = np.linspace(max(own[clock].min() for own in seeds), min(own[clock].max() for own in seeds), GRID)
    values = np.stack([np.interp(grid, own[clock].astype(float), own[metric].astype(float)) for own in seeds])
    return pd.DataFrame({"clock": grid, "median": np.median(values, 0), "low": values.min(0), "high": values.max(0)})


def figure(evidence: Evidence, picture: str) -> str:
    """Draw a picture: a row per metric and data set, ours at the left, the paper's at the right where it has a curve.

    Args:
        evidence: Results from which `sections` finds something to draw.
        picture: A key of `DRAWN`.

    Returns:
        The SVG file's text.
    """
    import altair as alt
    import vl_convert

    part, clock, metrics = DRAWN[picture]
    digitised = reference().curves
    rows = []
    for name, section in sections(evidence, picture).items():
        for metric in metrics:
            title = f"{metric.replace('_', ' ')}, {DATA[name]}"
            panels = [_ours(section, clock, metric, f"{title} ({section.device})")]
            beside = "cifar10" if section.missing else name
            wanted = {"part": part, "data": beside, "metric": metric}
            data = digitised[(digitised[list(wanted)] == pd.Series(wanted)).all(axis=1)]
            if len(data):
                paper = data.rename(columns={"value": "median"})
                panels.append(_lines(paper, clock, metric, f"{metric.replace('_', ' ')}, {DATA[beside]} (the paper)"))
            rows.append(alt.hconcat(*panels))
    return str(vl_convert.vegalite_to_svg(alt.vconcat(*rows).to_json()))


def _ours(section: Section, clock: str, metric: str, title: str) -> Any:
    import altair as alt

    curves = section.curves.assign(optimizer=_names(section.curves))
    parts = [bands(own, clock, metric).assign(optimizer=name) for name, own in curves.groupby("optimizer")]
    data = pd.concat(parts)
    band = alt.Chart(data).mark_area(opacity=0.2).encode(x="clock:Q", y="low:Q", y2="high:Q", color=_colour())
    layers = [band, _lines(data, clock, metric, title)]
    first = section.trials.iloc[0]
    if metric == f"test_{first['target_metric']}":
        target = pd.DataFrame({"target": [float(first["target_value"])]})
        layers.append(alt.Chart(target).mark_rule(strokeDash=[4, 3], color="gray").encode(y="target:Q"))
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title)


def _names(curves: pd.DataFrame) -> pd.Series[str]:
    """Name an optimizer as the paper's curves are named: with ``_bn`` on a network that normalises batches."""
    return curves["optimizer"] + np.where(curves["network"].str.endswith("_bn"), "_bn", "")


def _colour() -> Any:
    import altair as alt

    legend = alt.Legend(title=None, symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=2)
    return alt.Color("optimizer:N", scale=alt.Scale(scheme="tableau10"), legend=legend)


def _lines(data: pd.DataFrame, clock: str, metric: str, title: str) -> Any:
    import altair as alt

    x = alt.X("clock:Q", title="updates" if clock == "step" else "seconds")
    y = alt.Y("median:Q", title=metric.replace("_", " "), scale=alt.Scale(type="log", nice=False))
    lines = alt.Chart(data).mark_line(strokeWidth=1.5).encode(x=x, y=y, color=_colour())
    return lines.properties(width=WIDTH, height=HEIGHT, title=title)
