"""Runs one library's scripts in a process of its own: ``python -m kfc_bench.audit.worker LIBRARY OPTION ...``."""

from __future__ import annotations

import contextlib
import io
import json
import linecache
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.library import Library
from kfc_bench.audit.options import OPTIONS, Option
from kfc_bench.audit.reference import difference, within_groups
from kfc_bench.audit.script import script


def _within(error: BaseException, library: Library) -> bool:
    """Tell whether an exception passed through the library, rather than only through our lines."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(library.module in Path(frame.f_code.co_filename).parts for frame, _ in frames)


def _compared(layer: Any, found: Tensor, expected: Tensor) -> dict[str, Any]:
    """Compare one block, and find the constant that would make it right."""
    seen = {"found": list(found.shape), "expected": list(expected.shape), "rel_error": None}
    if found.shape != expected.shape:
        return seen
    kept = found.detach() * within_groups(layer, len(expected) // len(layer.weight))
    factor = float((kept * expected).sum() / expected.square().sum())
    scaled = float((kept - factor * expected).norm() / expected.norm())
    return {**seen, "rel_error": difference(layer, found, expected), "factor": factor, "scaled_error": scaled}


def observe(library: Library, option: Option) -> dict[str, Any]:
    """Run one script.

    Args:
        library: The library.
        option: The option.

    Returns:
        What it said of each block, the warnings that it gave, and how it ended.

    Raises:
        Exception: The script failed outside the library: ours to mend.
    """
    text, name = script(library, option), f"{library.name}-{option.name}.py"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names: dict[str, Any] = {"__name__": "__main__"}
    record: dict[str, Any] = {"option": option.name, "blocks": {}, "warnings": [], "exception": ""}
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        try:
            exec(compile(text, name, "exec"), names)
        except Exception as error:
            if not _within(error, library):
                raise
            first = next(iter(str(error).splitlines()), "")
            record["exception"] = f"{type(error).__name__}: {first}"
        else:
            layer = names["layer"]
            record["blocks"] = {
                name: _compared(layer, value, names["expected"][name]) for name, value in names["found"].items()
            }
    record["warnings"] = sorted({f"{warning.category.__name__}: {warning.message}" for warning in caught})
    return record


def main(library: str, options: list[str]) -> None:
    """Print one JSON line per option."""
    torch.set_num_threads(1)
    for name in options:
        print(json.dumps(observe(LIBRARIES[library], OPTIONS[name])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
