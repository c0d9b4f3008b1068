"""How large a layer each approximation could take."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd

from kfc_bench.results.schema import Record

SHAPE = ["in_channels", "out_channels", "kernel", "groups", "bias"]
"""What refresh and precondition depend on: they never see the map nor the batch."""

SETTING = ["env_id", "approximation", "dtype", "precision"]

ONCE = ("refresh", "precondition")

FEASIBLE_COLUMNS = [
    *SETTING,
    "largest_layer",
    "largest_parameters",
    "largest_batch",
    "largest_peak_bytes",
    "widest_batch",
    "widest_layer",
    "next_layer",
    "next_batch",
    "next_bytes",
    "too_large",
    "too_slow",
    "failed",
]


def _area(row: Record) -> int:
    return math.prod(int(side) for side in str(row["size"]).split("x") if side.isdigit())


def _shape(row: Record) -> tuple[Hashable, ...]:
    return tuple(str(row[name]) for name in SHAPE)


def _needs(phase: list[Record], place: Record) -> float:
    """Return what a phase is predicted to need at a place: as told there, else the least that was told of its shape."""
    there = [row for row in phase if (row["layer"], row["batch"]) == (place["layer"], place["batch"])]
    return min((row["predicted_bytes"] for row in there or phase if row["predicted_bytes"] > 0), default=0.0)


def _one(rows: list[Record]) -> Record | None:
    """Summarise one approximation in one setting; None if it was accumulated nowhere."""
    once: dict[tuple[Hashable, ...], dict[str, list[Record]]] = {}
    for row in rows:
        if row["phase"] in ONCE:
            once.setdefault(_shape(row), {}).setdefault(row["phase"], []).append(row)
    accumulated: dict[tuple[Hashable, ...], list[Record]] = {}
    for row in rows:
        if row["phase"] == "accumulate":
            accumulated.setdefault((row["layer"], row["batch"], *_shape(row)), []).append(row)
    if not accumulated:
        return None
    ran: list[Record] = []
    too_large: list[Record] = []
    too_slow = failed = 0
    for tried in accumulated.values():
        phases = [tried, *once.get(_shape(tried[0]), {}).values()]
        failing = [phase for phase in phases if all(row["status"] != "ok" for row in phase)]
        if not failing:
            peaks = [row["peak_memory_bytes"] for phase in phases for row in phase if row["status"] == "ok"]
            ran.append({**tried[0], "peak": max(peaks)})
            continue
        broken = [row for phase in failing for row in phase]
        needs = max(_needs(phase, tried[0]) for phase in failing)
        if needs > 0:
            too_large.append({**tried[0], "needs": needs})
        elif any(row["predicted_call_s"] > 0 or row["status"] == "timeout" for row in broken):
            too_slow += 1
        elif any(row["status"] == "oom" for row in broken):
            too_large.append({**tried[0], "needs": math.nan})
        else:
            failed += 1
    summary: Record = {"too_large": len(too_large), "too_slow": too_slow, "failed": failed}
    if ran:
        largest = max(ran, key=lambda row: (row["parameters"], row["batch"], _area(row)))
        widest = max(ran, key=lambda row: (row["batch"], row["parameters"], _area(row)))
        summary |= {
            "largest_layer": largest["layer"],
            "largest_parameters": largest["parameters"],
            "largest_batch": largest["batch"],
            "largest_peak_bytes": largest["peak"],
            "widest_batch": widest["batch"],
            "widest_layer": widest["layer"],
        }
    if too_large:
        following = min(too_large, key=lambda row: math.inf if math.isnan(row["needs"]) else row["needs"])
        summary |= {
            "next_layer": following["layer"],
            "next_batch": following["batch"],
            "next_bytes": following["needs"],
        }
    return summary


def feasible_sizes(cost: pd.DataFrame) -> pd.DataFrame:
    """Find the largest layer and the largest batch that each approximation took.

    A layer at a batch is feasible where every phase that was measured of it ran: accumulate at that batch, refresh and
    precondition wherever weights of that shape were measured. What is infeasible was predicted to need more memory than
    the suite's limit or ran out of it (``too_large``), was predicted to take longer than the limit or timed out
    (``too_slow``), or ``failed`` otherwise.

    Args:
        cost: The cost frame.

    Returns:
        One row per approximation and setting, `FEASIBLE_COLUMNS`: the feasible layer with the most parameters and its
        largest batch, the largest feasible batch and its largest layer, and the infeasible case that is predicted to
        need the least memory.
    """
    phases = cost[cost["layer"].notna() & cost["approximation"].notna() & (cost["approximation"] != "sgd")]
    numbers = ("predicted_bytes", "predicted_call_s", "peak_memory_bytes", "parameters")
    phases = phases.assign(**{name: pd.to_numeric(phases[name]) for name in numbers})
    summaries: list[dict[str, Any]] = []
    for key, group in phases.groupby(SETTING, sort=False, dropna=False):
        summary = _one(group.to_dict("records"))  # type: ignore[arg-type]
        if summary is not None:
            summaries.append({**dict(zip(SETTING, key, strict=True)), **summary})
    return pd.DataFrame(summaries, columns=FEASIBLE_COLUMNS)
