"""The gate of the static table: no row gets worse than the committed snapshot of its Triton version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kfc_bench.report.static import KEY, records, render
from kfc_bench.resources import share

REGISTER_TOLERANCE = 8
"""Registers more than before that are no news: the unit in which hardware gives them out."""

NEVER_MORE = ("stack_bytes", "spill_load_bytes", "spill_store_bytes")

Row = Mapping[str, Any]


def snapshot_path(version: str) -> Path:
    """Return where the snapshot of a version of triton lies."""
    return share("results") / "static" / f"kernels-triton-{version}.csv"


def snapshot_versions() -> list[str]:
    """List the versions of triton that have a snapshot."""
    pattern = snapshot_path("*")
    before = pattern.stem.removesuffix("*")
    return sorted(path.stem.removeprefix(before) for path in pattern.parent.glob(pattern.name))


def read_snapshot(path: Path) -> pd.DataFrame:
    """Read a snapshot as it was written: empty words stay words."""
    return pd.read_csv(path, keep_default_na=False)


def snapshot_text(frame: pd.DataFrame) -> str:
    """Return what a snapshot's file holds, in an order that changes make small differences of."""
    return render(frame.sort_values(list(KEY)), "csv")


def losses(before: Row, after: Row) -> list[str]:
    """Say what is worse about a row, in a few words each; nothing where it is as good or better."""
    found = []
    if after["registers"] > before["registers"] + REGISTER_TOLERANCE:
        found.append(f"registers {before['registers']} -> {after['registers']}")
    found += [
        f"{name} {before[name]} -> {after[name]}".replace("_", " ") for name in NEVER_MORE if after[name] > before[name]
    ]
    kept = _families(after)
    found += [f"no {family} any more" for family in _families(before) if family not in kept]
    if after["programs"] < before["programs"]:
        found.append(f"programs {before['programs']} -> {after['programs']} (by {after['bound']})")
    return found


def _families(row: Row) -> list[str]:
    return [word.partition(":")[0] for word in row["matrix_instructions"].split()]


def judge(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Compare a snapshot with what the code gives now.

    Args:
        before: The snapshot's rows.
        after: The same rows now.

    Returns:
        One line per row that got worse, is gone or is not in the snapshot yet, naming it.
    """
    old, new = _by_key(before), _by_key(after)
    lines = [f"{' '.join(key)}: in the snapshot, but dispatch picks it no more" for key in old if key not in new]
    for key, row in new.items():
        found = losses(old[key], row) if key in old else ["not in the snapshot"]
        if found:
            lines.append(f"{' '.join(key)}: {', '.join(found)}")
    return lines


def _by_key(frame: pd.DataFrame) -> dict[tuple[str, ...], Row]:
    return {tuple(row[name] for name in KEY): row for row in records(frame)}
