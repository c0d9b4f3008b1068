"""The summary of a run, as tables for the terminal and for Markdown."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable

from kfc_bench.report.comparison import comparison
from kfc_bench.report.feasible import SETTING, feasible_sizes
from kfc_bench.report.names import APPROXIMATIONS
from kfc_bench.report.units import ratio, seconds, size, three
from kfc_bench.results.frames import Results
from kfc_bench.results.schema import STATUSES

T = TypeVar("T")

PHASES = ("accumulate", "refresh", "precondition")
HOW = ("dtype", "precision", "cache")
WIDE = 200
"""Columns of a table that no terminal limits."""

MOST_LAYERS = 15
"""Layers and batches in a table; of more, so many are shown, evenly spread."""


@dataclass(frozen=True)
class TextTable:
    """A table of words, with a title that says what it shows and where it was measured."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def to_rich(self) -> RichTable:
        """Return it for the terminal."""
        table = RichTable(title=self.title, title_justify="left")
        for index, name in enumerate(self.header):
            table.add_column(name, justify="left" if index == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def to_text(self) -> str:
        """Return it as the terminal shows it, or as wide as it needs where standard output is none."""
        console = Console(width=None if sys.stdout.isatty() else WIDE)
        with console.capture() as captured:
            console.print(self.to_rich())
        return captured.get()

    def to_markdown(self) -> str:
        """Return it as Markdown."""
        lines = [f"**{self.title}**", "", "| " + " | ".join(self.header) + " |"]
        lines.append("|" + "|".join(["---"] + ["---:"] * (len(self.header) - 1)) + "|")
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"


def device_badge(results: Results, env_id: str | None = None) -> str:
    """Say on what the results were measured, all or those of one environment; CPU in capitals where it was one."""
    own = [environment for key, environment in results.environments.items() if env_id in (None, key)]
    devices = sorted({environment["device"] for environment in own})
    kinds = {environment["device_kind"] for environment in own}
    prefix = "CPU, no GPU: " if kinds == {"cpu"} else ""
    return prefix + "; ".join(devices)


def cost_table(results: Results, approximations: list[str]) -> TextTable | None:
    """Show time per phase and approximation for each layer and batch."""
    cost = results.cost
    phases = cost[cost["layer"].notna() & cost["phase"].isin(PHASES) & cost["approximation"].isin(approximations)]
    if phases.empty:
        return None
    groups = list(phases.groupby(["layer", "batch", *HOW], sort=False, dropna=False))
    shown = spread(groups, MOST_LAYERS)
    several = len(phases[list(HOW)].drop_duplicates()) > 1
    rows = []
    for (layer, batch, *how), group in shown:
        cells = {(row["approximation"], row["phase"]): _cell(row) for _, row in group.iterrows()}
        where = ", ".join([str(layer), *(map(str, how) if several else ())])
        rows += [
            [where, str(batch), name, *(cells.get((name, phase), "-") for phase in PHASES)] for name in approximations
        ]
    part = "" if len(shown) == len(groups) else f", {len(shown)} of {len(groups)} layers and batches"
    return TextTable(
        f"Time of each phase of a layer's curvature ({device_badge(results)}){part}",
        ["layer", "batch", "approximation", *PHASES],
        rows,
    )


def spread(entries: list[T], most: int) -> list[T]:
    """Return so many entries at the most, evenly spread, the first and the last among them."""
    if len(entries) <= most:
        return entries
    return [entries[round(place * (len(entries) - 1) / (most - 1))] for place in range(most)]


def _cell(row: pd.Series[Any]) -> str:
    if row["status"] == "ok":
        return seconds(row["time_median_s"])
    needed, call = (pd.to_numeric(row[name]) for name in ("predicted_bytes", "predicted_call_s"))
    if row["status"] == "unsupported" and needed > 0:
        return f"needs {size(needed)}"
    if row["status"] == "unsupported" and call > 0:
        return f"takes {seconds(call)}"
    return str(row["status"])


def feasible_table(results: Results) -> TextTable | None:
    """Show how large a layer and a batch each approximation took, and what came next."""
    sizes = feasible_sizes(results.cost)
    if sizes.empty:
        return None
    several = len(sizes[SETTING].drop_duplicates(["env_id", "dtype", "precision"])) > 1
    rank = {name: place for place, name in enumerate(APPROXIMATIONS)}
    ordered = sizes.sort_values("approximation", key=lambda names: names.map(rank), kind="stable")

    def whole(value: float) -> str:
        return "-" if math.isnan(value) else f"{value:.0f}"

    def at(layer: Any, batch: float) -> str:
        return f"{layer}, batch {whole(batch)}" if isinstance(layer, str) else "none"

    rows = [
        [
            f"{row['approximation']} {row['dtype']} {row['precision']}" if several else str(row["approximation"]),
            at(row["largest_layer"], row["largest_batch"]),
            whole(row["largest_parameters"]),
            size(row["largest_peak_bytes"]),
            at(row["widest_layer"], row["widest_batch"]),
            at(row["next_layer"], row["next_batch"]),
            size(row["next_bytes"]),
            whole(row["too_large"]),
            whole(row["too_slow"]),
        ]
        for row in ordered.to_dict("records")
    ]
    header = ["approximation", "largest layer", "parameters", "memory", "largest batch", "least that did not fit"]
    header += ["needs", "too large", "too slow"]
    return TextTable(f"Largest sizes whose every phase ran ({device_badge(results)})", header, rows)


def _optimizer(row: pd.Series[Any]) -> str:
    return f"{row['approximation']}, clip {row['clip']:g}" if row["clip"] > 0 else str(row["approximation"])


def comparison_table(results: Results) -> TextTable | None:
    """Show each approximation's step beside SGD's, and what it takes to the target."""
    joined = comparison(results.cost, results.trials)
    if joined.empty:
        return None
    rows = []
    for _, row in joined.iterrows():
        interval = (
            f" [{three(row['step_ratio_low'])}, {three(row['step_ratio_high'])}]"
            if row["step_ratio_low"] > 0 and row["approximation"] != "sgd"
            else ""
        )
        reached = "-" if math.isnan(row["seeds"]) else f"{row['seeds_reached']:.0f} of {row['seeds']:.0f}"
        steps = row["steps_to_target"]
        rows.append(
            [
                str(row["network"]),
                f"{row['batch']:.0f}",
                _optimizer(row),
                seconds(row["step_s"]),
                ratio(row["step_ratio"]) + interval,
                size(row["peak_memory_bytes"]),
                "-" if math.isnan(steps) else "not reached" if math.isinf(steps) else f"{steps:g}",
                ratio(row["steps_ratio"]),
                seconds(row["seconds_to_target"]),
                ratio(row["seconds_ratio"]),
                reached,
            ]
        )
    header = [
        "network",
        "batch",
        "optimizer",
        "step",
        "step / SGD",
        "step memory",
        "steps to target",
        "/ SGD",
        "time to target",
        "/ SGD",
        "seeds",
    ]
    return TextTable(f"Against tuned SGD ({device_badge(results)})", header, rows)


def health_line(results: Results) -> str:
    """Count the cases and trials by status."""
    cases = [frame.drop_duplicates(["run_id", "case_id"]) for frame in results.by_case]
    statuses = pd.concat([frame["status"] for frame in cases])
    counts = statuses.value_counts()
    return ", ".join(f"{counts[status]} {status}" for status in STATUSES if status in counts) or "no records"
