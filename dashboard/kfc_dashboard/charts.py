"""Frames in, Altair charts out: each stands for itself, legend included."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import altair as alt
import pandas as pd

from kfc_bench.report.units import ratio, seconds, size
from kfc_dashboard.data import LINE
from kfc_dashboard.looks import Look

HEIGHT = 380
GREY = "#8a8a8a"
CROSS = "M-1,-1L1,1M1,-1L-1,1"
LEGEND = alt.Legend(orient="bottom", title=None, columns=3, offset=4, padding=0, rowPadding=2, symbolOpacity=1)
MEASURES = {"time": "time", "memory": "peak memory"}

_SECONDS = "format(datum.value, '~s') + 's'"
_BYTES = (
    "datum.value >= 1073741824 ? format(datum.value / 1073741824, '~r') + ' GiB' : "
    "datum.value >= 1048576 ? format(datum.value / 1048576, '~r') + ' MiB' : "
    "datum.value >= 1024 ? format(datum.value / 1024, '~r') + ' KiB' : format(datum.value, '~r') + ' B'"
)
_RATIO = "format(datum.value, '~r') + 'x'"


def write(value: float, measure: str, *, relative: bool) -> str:
    """Write a value with its unit.

    Args:
        value: Seconds, bytes or a ratio.
        measure: ``"time"`` or ``"memory"``.
        relative: Whether it is a ratio.

    Returns:
        Three significant digits and the unit.
    """
    if relative:
        return ratio(value)
    return seconds(value) if measure == "time" else size(value)


def span(values: Iterable[float], *, crosses: int = 0) -> tuple[float, float] | None:
    """Choose the range of a logarithmic axis.

    Args:
        values: What is drawn.
        crosses: Rows of crosses for which to leave room on the top edge.

    Returns:
        The positive values with some air around them; None if there are none.
    """
    positive = [value for value in values if 0 < value < math.inf]
    if not positive:
        return None
    low, high = min(positive) / 1.5, max(positive) * 1.5
    return low, high * (high / low) ** (0.08 * crosses)


def ticks(low: float, high: float, base: int) -> list[float]:
    """Choose round values on a logarithmic axis, at most seven.

    Args:
        low: Lower end of the axis, positive.
        high: Upper end.
        base: 10 for 1, 2, 5 in each decade, 2 for powers of two.

    Returns:
        The values.
    """
    powers = range(math.floor(math.log(low, base)), math.ceil(math.log(high, base)) + 1)
    choices = [[float(base) ** power for power in powers[::every]] for every in range(1, 41)]
    if base == 10:
        choices = [
            [factor * 10.0**power for power in powers for factor in factors] for factors in ((1, 2, 5), (1, 3))
        ] + choices
    inside = [[value for value in choice if low <= value <= high] for choice in choices]
    return next((choice for choice in inside if 0 < len(choice) <= 7), inside[0])


def _colour(shown: Sequence[str], looks: dict[str, Look]) -> alt.Color:
    labels = [looks[name].label for name in shown]
    scale = alt.Scale(domain=labels, range=[looks[name].colour for name in shown])
    return alt.Color("label:N", scale=scale, legend=LEGEND)


def _shape(shown: Sequence[str], looks: dict[str, Look]) -> alt.Shape:
    scale = alt.Scale(domain=[looks[name].label for name in shown], range=[looks[name].shape for name in shown])
    return alt.Shape("label:N", scale=scale, legend=LEGEND)


def _present(names: Iterable[str], looks: dict[str, Look]) -> list[str]:
    present = set(names)
    return [name for name in looks if name in present]


def cost_chart(
    points: pd.DataFrame,
    looks: dict[str, Look],
    *,
    title: str,
    subject: str,
    measure: str,
    relative: bool,
    domain: tuple[float, float],
) -> alt.LayerChart:
    """Draw time or peak memory against batch, both axes logarithmic.

    Args:
        points: From `kfc_dashboard.data.cost_points`, one measure and phase.
        looks: How each approximation is drawn.
        title: What the chart shows.
        subject: On which network or layer.
        measure: ``"time"`` or ``"memory"``.
        relative: Whether values are ratios to SGD's step.
        domain: Range of the value's axis, so that charts side by side can share one.

    Returns:
        Lines with points and 95 % intervals; hollow points are predictions. A case without a value is a cross on the
        top edge, a value of 0 a point on the bottom edge.
    """
    shown = _present(points["approximation"], looks)
    finished = points[points["status"] == "ok"]
    many = (finished.groupby("approximation")["implementation"].nunique() > 1).any()
    data = points.assign(
        label=[looks[name].label for name in points["approximation"]],
        series=points[LINE].fillna("").agg(" ".join, axis=1),
        shown=[write(value, measure, relative=relative) for value in points["value"]],
        interval=[_interval(row, measure, relative=relative) for row in points.itertuples()],
    )
    batches = sorted(set(points["batch"]))
    x = alt.X(
        "batch:Q",
        title="batch",
        scale=alt.Scale(type="log", base=2, domain=[batches[0] / 1.4, batches[-1] * 1.4], nice=False),
        axis=alt.Axis(values=batches, format="d", grid=False, titlePadding=4),
    )
    quantity = MEASURES[measure] + (" / SGD" if relative else "")
    y = alt.Y(
        "value:Q",
        title=quantity,
        scale=alt.Scale(
            type="log", base=10 if relative or measure == "time" else 2, domain=list(domain), nice=False, clamp=True
        ),
        axis=alt.Axis(
            values=ticks(*domain, 10 if relative or measure == "time" else 2),
            labelExpr=_RATIO if relative else _SECONDS if measure == "time" else _BYTES,
        ),
    )
    colour, shape = _colour(shown, looks), _shape(shown, looks)
    tooltip = [
        alt.Tooltip("label:N", title="approximation"),
        alt.Tooltip("implementation:N"),
        alt.Tooltip("batch:Q", format="d"),
        alt.Tooltip("shown:N", title=quantity),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("status:N"),
        alt.Tooltip("reason:N"),
    ]
    valued = data[data["value"] > 0]
    measured, predicted = valued[valued["status"] == "ok"], valued[valued["status"] != "ok"]
    dash = {"strokeDash": alt.StrokeDash("implementation:N", legend=alt.Legend(orient="bottom"))} if many else {}
    layers: list[alt.Chart] = [
        alt.Chart(measured).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, detail="series:N", **dash),
        alt.Chart(measured[measured["low"] > 0])
        .mark_rule(strokeWidth=2)
        .encode(x=x, y=alt.Y("low:Q", title=quantity), y2="high:Q", color=colour),
        alt.Chart(measured)
        .mark_point(size=60, filled=True, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip),
    ]
    if not predicted.empty:
        layers.append(
            alt.Chart(predicted)
            .mark_point(size=70, filled=False, strokeWidth=2)
            .encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip)
        )
    if relative:
        layers.insert(0, alt.Chart(pd.DataFrame({"value": [1.0]})).mark_rule(strokeDash=[4, 4], color=GREY).encode(y=y))
    zero = data[data["value"] == 0]
    if not zero.empty:
        edge = {"y": alt.value("height"), "shape": shape, "tooltip": tooltip}
        layers.append(alt.Chart(zero).mark_point(size=60, filled=True, opacity=1).encode(x=x, color=colour, **edge))
    missing = data[data["value"].isna()]
    for row, name in enumerate(_present(missing["approximation"], looks)):
        layers.append(
            alt.Chart(missing[missing["approximation"] == name])
            .mark_point(shape=CROSS, size=60, strokeWidth=2.5, opacity=1)
            .encode(x=x, y=alt.value(9 + 16 * row), color=colour, tooltip=tooltip)
        )
    return alt.layer(*layers).properties(
        height=HEIGHT, title=alt.TitleParams(title, subtitle=subject, subtitleColor=GREY)
    )


def _interval(row: object, measure: str, *, relative: bool) -> str:
    low, high = float(getattr(row, "low", math.nan)), float(getattr(row, "high", math.nan))
    if math.isnan(low) or math.isnan(high):
        return "-"
    return f"{write(low, measure, relative=relative)} to {write(high, measure, relative=relative)}"


def describe_cost(points: pd.DataFrame, looks: dict[str, Look], *, title: str, measure: str, relative: bool) -> str:
    """Say in words what `cost_chart` draws, for those who hear it.

    Args:
        points: As drawn.
        looks: How each approximation is drawn.
        title: The chart's title.
        measure: ``"time"`` or ``"memory"``.
        relative: Whether values are ratios.

    Returns:
        One sentence per approximation.
    """
    sentences = []
    for name in _present(points["approximation"], looks):
        values = points.loc[(points["approximation"] == name) & (points["status"] == "ok"), "value"].dropna()
        low, high = (
            (write(value, measure, relative=relative) for value in (values.min(), values.max()))
            if len(values)
            else ("", "")
        )
        said = "no measurement" if not len(values) else low if low == high else f"{low} to {high}"
        sentences.append(f"{looks[name].label}: {said}.")
    return f"{title}, {MEASURES[measure]} against batch, logarithmic axes. " + " ".join(sentences)


def convergence_chart(
    summary: pd.DataFrame,
    looks: dict[str, Look],
    *,
    subject: str,
    x: str,
    y_title: str,
    log_x: bool,
    log_y: bool,
    target: float | None,
) -> alt.LayerChart:
    """Draw loss or error against steps or seconds.

    Args:
        summary: From `kfc_dashboard.data.curves`.
        looks: How each optimizer is drawn.
        subject: In which study.
        x: ``"step"`` or ``"seconds"``.
        y_title: What is drawn.
        log_x: Whether the first axis is logarithmic; it then has no place for 0.
        log_y: Whether the second is.
        target: Where to draw the target line.

    Returns:
        A median line and a band for each optimizer, and the target.
    """
    data = summary.assign(label=[looks[name].label for name in summary["approximation"]])
    shown = _present(summary["approximation"], looks)
    if log_x:
        data = data[data[x] > 0]
    if log_y:
        floor = data.loc[data["value"] > 0, "value"].min()
        data = data[data["value"] > 0].assign(low=lambda rows: rows["low"].where(rows["low"] > 0, floor))
    colour = _colour(shown, looks)
    first = alt.X(
        f"{x}:Q",
        title="training steps" if x == "step" else "seconds of training, without evaluation",
        scale=alt.Scale(type="log" if log_x else "linear", nice=False),
        axis=alt.Axis(grid=False, format="~g" if log_x else "~r", tickCount=8, titlePadding=4),
    )
    ends = span([*data["value"], *data["low"], *data["high"], *([target] if target else [])]) if log_y else None
    y_axis = alt.Axis(values=ticks(*ends, 10), format="~r") if ends else alt.Axis(format="~r")
    y_scale = (
        alt.Scale(type="log", domain=list(ends), nice=False, clamp=True)
        if ends
        else alt.Scale(type="linear", zero=True)
    )
    second = alt.Y("value:Q", title=y_title, scale=y_scale, axis=y_axis)
    tooltip = [
        alt.Tooltip("label:N", title="optimizer"),
        alt.Tooltip("step:Q", format="d"),
        alt.Tooltip("seconds:Q", format=".3g"),
        *(
            alt.Tooltip(f"{name}:Q", title=words, format=".3g")
            for name, words in (("value", "median"), ("low", "lowest"), ("high", "highest"))
        ),
        alt.Tooltip("seeds:Q", format="d"),
    ]
    base = alt.Chart(data)
    layers = [
        base.mark_area(opacity=0.18).encode(x=first, y=alt.Y("low:Q", title=y_title), y2="high:Q", color=colour),
        base.mark_line(strokeWidth=2).encode(x=first, y=second, color=colour, order="step:Q"),
        base.mark_point(size=60, opacity=0).encode(x=first, y=second, color=colour, tooltip=tooltip),
    ]
    if target is not None and (target > 0 or not log_y):
        line = pd.DataFrame({"value": [target], "words": [f"target {target:g}"]})
        layers.append(alt.Chart(line).mark_rule(strokeDash=[6, 4], color="#D55E00", strokeWidth=1.5).encode(y=second))
        layers.append(
            alt.Chart(line)
            .mark_text(align="left", baseline="bottom", dx=4, dy=-3, color="#D55E00", fontSize=12)
            .encode(x=alt.value(0), y=second, text="words:N")
        )
    return alt.layer(*layers).properties(
        height=440, title=alt.TitleParams(y_title.capitalize(), subtitle=subject, subtitleColor=GREY)
    )


def describe_convergence(summary: pd.DataFrame, looks: dict[str, Look], *, x: str, y_title: str) -> str:
    """Say in words what `convergence_chart` draws.

    Args:
        summary: As drawn.
        looks: How each optimizer is drawn.
        x: ``"step"`` or ``"seconds"``.
        y_title: What is drawn.

    Returns:
        One sentence per optimizer.
    """
    sentences = []
    for name in _present(summary["approximation"], looks):
        last = summary[summary["approximation"] == name].iloc[-1]
        end = f"ends at {last['value']:.3g} after {last['step']:.0f} steps, {seconds(last['seconds'])}"
        sentences.append(f"{looks[name].label}: {end}.")
    axis = "steps" if x == "step" else "seconds of training"
    return f"Median {y_title} over seeds against {axis}. " + " ".join(sentences)
