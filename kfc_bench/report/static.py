"""The static table: what each Triton launch that dispatch picks needs on each architecture, without a GPU."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from kfc_bench.errors import UserError
from kfc_bench.report.tables import TextTable
from kfc_bench.report.units import size

if TYPE_CHECKING:
    from kfc_kernels.launches import Launch

KEY = ("operator", "kernel", "layer", "products", "target")
"""Columns that name a row; with the version of triton, the facts follow from them."""

COLUMNS = (
    *KEY,
    "triton",
    "tile",
    "warps",
    "stages",
    "registers",
    "stack_bytes",
    "spill_load_bytes",
    "spill_store_bytes",
    "shared_bytes",
    "tensor_memory_columns",
    "matrix_instructions",
    "programs",
    "bound",
)


def compiling_triton() -> str:
    """Return the version of the Triton that compiles.

    Raises:
        UserError: There is none, or it interprets.
    """
    if importlib.util.find_spec("triton") is None:
        raise UserError("kernels are compiled by triton, which is not installed: pip install triton")
    triton = importlib.import_module("triton")
    if triton.knobs.runtime.interpret:
        raise UserError("Triton's interpreter compiles nothing: unset TRITON_INTERPRET")
    return str(triton.__version__)


def static_row(launch: Launch, target: str) -> dict[str, Any]:
    """Compile a launch and describe what came out.

    Args:
        launch: The launch.
        target: A key of `kfc_kernels.compile_ahead.TARGETS`.

    Returns:
        A value for each of `COLUMNS`.
    """
    from kfc_kernels.compile_ahead import TARGETS, compile_ahead
    from kfc_kernels.occupancy import occupancy

    binary = compile_ahead(launch.function, launch.types, launch.configuration, TARGETS[target])
    held = occupancy(binary, target)
    sides = {name: value for name, value in launch.configuration.items() if name[0] == "B" and type(value) is int}
    return {
        "operator": launch.operator,
        "kernel": launch.kernel,
        "layer": launch.layer,
        "products": launch.products,
        "target": target,
        "triton": compiling_triton(),
        "tile": " ".join(f"{name}={side}" for name, side in sides.items()),
        "warps": binary.warps,
        "stages": binary.stages,
        "registers": binary.registers,
        "stack_bytes": binary.stack,
        "spill_load_bytes": binary.spill_loads,
        "spill_store_bytes": binary.spill_stores,
        "shared_bytes": binary.shared,
        "tensor_memory_columns": binary.tensor_columns,
        "matrix_instructions": " ".join(f"{name}:{count}" for name, count in binary.matrix_instructions.items()),
        "programs": held.programs,
        "bound": held.bound,
    }


def static_frame(wanted: Callable[[Mapping[str, Any]], bool]) -> pd.DataFrame:
    """Compile the headline layers' launches, on all cores; what Triton's cache holds is not compiled again.

    Args:
        wanted: Tells by the columns of `KEY` whether a row is.

    Returns:
        One row per launch and target, `COLUMNS` each.

    Raises:
        UserError: Triton cannot compile here, or no row is wanted.
    """
    compiling_triton()
    from kfc_kernels.compile_ahead import TARGETS
    from kfc_kernels.launches import launches

    chosen = [
        (launch, target)
        for target in TARGETS
        for launch in launches(target=target)
        if wanted(dict(zip(KEY, (launch.operator, launch.kernel, launch.layer, launch.products, target), strict=True)))
    ]
    if not chosen:
        raise UserError(f"no kernel matches; the targets are {', '.join(TARGETS)}")
    errors = Console(stderr=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        rows = track(
            pool.map(static_row, *zip(*chosen, strict=True)),
            "compiling",
            total=len(chosen),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
        )
        return pd.DataFrame(list(rows), columns=list(COLUMNS))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows, each a value by column."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def static_table(frame: pd.DataFrame) -> TextTable:
    """Return the table for people: spills as stack (bytes loaded and stored), programs per multiprocessor."""
    rows = [
        [
            *(row[name] for name in KEY),
            row["tile"],
            f"{row['warps']} / {row['stages']}",
            str(row["registers"]),
            f"{row['stack_bytes']} ({row['spill_load_bytes']} + {row['spill_store_bytes']})",
            size(row["shared_bytes"]),
            row["matrix_instructions"] or "-",
            f"{row['programs']} by {row['bound']}",
        ]
        for row in records(frame)
    ]
    header = [*KEY, "tile", "warps / stages", "registers", "stack B (loads + stores)", "shared"]
    versions = ", ".join(frame["triton"].unique())
    return TextTable(
        f"Triton kernels, compiled without a GPU (triton {versions})",
        [*header, "matrix instructions", "programs per multiprocessor"],
        rows,
    )


def render(frame: pd.DataFrame, form: str) -> str:
    """Return the table as text: ``"terminal"``, ``"markdown"`` or ``"csv"``."""
    if form == "csv":
        return frame.to_csv(index=False, lineterminator="\n")
    table = static_table(frame)
    return table.to_markdown() if form == "markdown" else table.to_text()
