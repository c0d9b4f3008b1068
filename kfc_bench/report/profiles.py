"""Where a step's time and memory go: by phase, by layer, and steps beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from kfc_bench.report.tables import TextTable, device_badge
from kfc_bench.report.units import seconds, size, three
from kfc_bench.results.frames import Results

CASE = ["run_id", "case_id"]
MOST_LAYERS = 12


def percent(share: float) -> str:
    """Write a share as ``12.3 %``."""
    return f"{100 * share:.1f} %"


def step_name(row: Any) -> str:
    """Name a profiled step: its optimizer, and its clipping."""
    clip = pd.to_numeric(row["clip"])
    return f"{row['approximation']}, clip {clip:g}" if clip > 0 else str(row["approximation"])


def sum_line(row: Any) -> str:
    """Say what the parts add up to, and that they should not be believed where that is far from the step."""
    found = (
        f"The parts add up to {percent(row['parts_share'])} of the measured step of {seconds(row['step_s'])}; "
        f"{seconds(row['other_s'])} of a step lies outside of every part."
    )
    return found + (" SUSPECT: that is not within 5 %, so the parts are not the step's." if row["suspect"] else "")


def phases_table(profile: pd.DataFrame, badge: str) -> TextTable:
    """Show one step by phase.

    Args:
        profile: The rows of one profile, of the frame `Results.profile`.
        badge: What it was measured on.

    Returns:
        One row per phase, and their sum.
    """
    step = profile.iloc[0]
    rows = [
        [
            str(phase),
            seconds(own["call_s"].sum()),
            _every(own["every"].max()),
            seconds(own["per_step_s"].sum()),
            percent(own["per_step_s"].sum() / step["step_s"]),
            size(max(own["peak_bytes"].max(), 0)),
        ]
        for phase, own in profile.groupby("phase", sort=False)
    ]
    total = ["together", "", "", seconds(step["parts_s"]), percent(step["parts_share"]), ""]
    header = ["phase", "each time", "every", "per step", "of the step", "memory, peak"]
    return TextTable(f"{_title(step)} by phase ({badge})", header, [*rows, total])


def _every(steps: float) -> str:
    return "step" if steps == 1 else f"{steps:.0f} steps"


def _title(step: Any) -> str:
    return f"{step_name(step)} on {step['network']}, batch {step['batch']:.0f}, {step['layout']}"


def layers_table(profile: pd.DataFrame, badge: str, most: int | None = MOST_LAYERS) -> TextTable:
    """Show one step by layer and phase.

    Args:
        profile: As for `phases_table`.
        badge: Likewise.
        most: Layers shown, those that take the most; the rest is summed. None for all.

    Returns:
        One row per layer, amortised seconds per step by phase.
    """
    step = profile.iloc[0]
    phases = list(dict.fromkeys(profile["phase"]))
    by_layer = profile.pivot_table(index="layer", columns="phase", values="per_step_s", aggfunc="sum")[phases]
    kinds = dict(zip(profile["layer"], profile["kind"], strict=True))
    totals = by_layer.sum(axis=1).sort_values(ascending=False)
    none = [name for name in totals.index if name == ""]
    named = [name for name in totals.index if name != ""]
    shown = named if most is None else named[:most]

    def row(title: Sequence[str], values: pd.Series[Any]) -> list[str]:
        cells = [seconds(values[phase]) if values[phase] > 0 else "-" for phase in phases]
        return [*title, *cells, seconds(values.sum()), percent(values.sum() / step["step_s"])]

    rows = [row([name, kinds[name]], by_layer.loc[name]) for name in shown]
    if rest := named[len(shown) :]:
        rows.append(row([f"{len(rest)} more", ""], by_layer.loc[rest].sum()))
    rows += [row(["no layer's", ""], by_layer.loc[name]) for name in none]
    rows.append(row(["together", ""], by_layer.sum()))
    shared = ", ".join(dict.fromkeys(profile.loc[profile["shared"].astype(bool), "phase"]))
    how = f"; {shared} divided by counted work" if shared else ""
    return TextTable(
        f"{_title(step)} by layer, per step{how} ({badge})",
        ["layer", "kind", *phases, "together", "of the step"],
        rows,
    )


def steps_table(results: Results) -> TextTable | None:
    """Show profiled steps beside each other, by phase.

    Args:
        results: What was measured.

    Returns:
        One row per step; None where none was profiled.
    """
    profiles = results.profiles[results.profiles["status"] == "ok"]
    if profiles.empty:
        return None
    phases = list(dict.fromkeys(results.profile["phase"]))
    rows = []
    for _, step in profiles.iterrows():
        own = results.profile[(results.profile[CASE] == step[CASE]).all(axis=1)]
        per_step = own.groupby("phase")["per_step_s"].sum()
        inverse = own.loc[own["phase"] == "inverse", "call_s"].sum()
        rows.append(
            [
                str(step["network"]),
                f"{step['batch']:.0f}",
                step_name(step),
                seconds(step["step_s"]),
                *(seconds(per_step[phase]) if phase in per_step.index else "-" for phase in phases),
                seconds(inverse) if inverse else "-",
                percent(step["parts_share"]) + (" SUSPECT" if step["suspect"] else ""),
                size(step["peak_memory_bytes"]),
            ]
        )
    periods = sorted(
        {
            (row["statistics_every"], row["inverses_every"])
            for _, row in profiles.iterrows()
            if row["statistics_every"] > 0
        }
    )
    how = "; ".join(
        f"statistics every {three(often)}, inverses every {three(seldom)} steps" for often, seldom in periods
    )
    header = ["network", "batch", "optimizer", "step", *phases, "inverses, a refresh", "parts / step", "memory"]
    return TextTable(
        "Where a step's time goes, each phase's seconds amortised over its period"
        + (f" ({how})" if how else "")
        + f" ({device_badge(results)})",
        header,
        rows,
    )
