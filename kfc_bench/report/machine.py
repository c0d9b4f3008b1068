"""Where it was measured, and what that device was seen to reach."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kfc_bench.report.tables import TextTable
from kfc_bench.report.units import size, three
from kfc_bench.results.frames import Results

WORDS = {
    "device": "device",
    "device_kind": "kind",
    "driver": "driver",
    "torch": "torch",
    "triton": "triton",
    "cuda": "CUDA",
    "commit": "commit",
    "code": "hash of the sources",
    "threads": "threads",
    "cores": "cores",
    "cpu": "CPU",
    "memory_bytes": "memory of the host",
    "python": "Python",
    "platform": "platform",
}
"""Keys of the environment record in the order of the table; others follow under their own names."""

UNSHOWN = ("schema", "run_id", "env_id", "datasheet")


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a record whose tables within are spread out, under keys such as ``packages: torch``."""
    spread: dict[str, Any] = {}
    for key, value in values.items():
        spread |= flat(value, f"{prefix}{key}: ") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return spread


def _written(key: str, value: Any) -> str:
    if key.endswith("_bytes") and isinstance(value, int | float):
        return size(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def environment_table(results: Results, environment: dict[str, Any]) -> TextTable:
    """Show the environment record, and the precisions that were set.

    Args:
        results: What was measured.
        environment: The run's environment.

    Returns:
        The table.
    """
    facts = {key: value for key, value in flat(environment).items() if key.split(": ")[0] not in UNSHOWN}
    ordered = [*(key for key in WORDS if key in facts), *(key for key in facts if key not in WORDS)]
    rows = [[WORDS.get(key, key), _written(key, facts[key])] for key in ordered if facts[key] not in (None, "", [])]
    precisions = sorted(set(results.cost["precision"].dropna()))
    if precisions:
        rows.append(["precision of products", f"{', '.join(precisions)}: set alike for all that is compared"])
    return TextTable("Environment", ["what", "value"], rows)


def ceilings_table(results: Results, environment: dict[str, Any]) -> TextTable | None:
    """Show the ceilings that were measured in the run beside the vendor's data sheet, where that is known.

    Args:
        results: What was measured.
        environment: The run's environment.

    Returns:
        The table; None where no record holds a ceiling.
    """
    cost = results.cost
    cost = cost.assign(
        flops=pd.to_numeric(cost["ceiling_flops_per_s"]), bandwidth=pd.to_numeric(cost["ceiling_bytes_per_s"])
    )
    cost = cost[cost["flops"].notna()]
    if cost.empty:
        return None
    sheet = environment.get("datasheet") or {}
    promised, memory = sheet.get("flops_per_s", {}), sheet.get("bytes_per_s")
    rows = []
    for (dtype, precision, cache), group in cost.groupby(["dtype", "precision", "cache"], sort=False, dropna=False):
        flops, bandwidth = float(group["flops"].max()), float(group["bandwidth"].max())
        of_sheet = promised.get(precision) if dtype == "float32" else None
        rows.append(
            [
                f"{dtype}, {precision}",
                f"{three(flops / 1e12)} TFLOP/s",
                f"{three(of_sheet / 1e12)} TFLOP/s ({three(100 * flops / of_sheet)} %)" if of_sheet else "-",
                str(cache),
                f"{three(bandwidth / 1e9)} GB/s",
                f"{three(memory / 1e9)} GB/s ({three(100 * bandwidth / memory)} %)"
                if memory and cache == "cold"
                else "-",
            ]
        )
    header = ["products", "measured", "data sheet", "cache", "memory, measured", "data sheet"]
    product = f"; data sheet: {sheet['product']}" if "product" in sheet else ""
    return TextTable(f"Ceilings of the device (measured in this run{product})", header, rows)
