"""Runs one library's scripts in a process of its own: ``python -m kfc_bench.audit.worker LIBRARY OPTION ...``."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import linecache
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.library import Library
from kfc_bench.audit.options import OPTIONS, Option
from kfc_bench.audit.reference import difference, within_groups
from kfc_bench.audit.script import script


class _Log(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(f"{record.levelname}: {record.getMessage()}")

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Listen to every logger that passes its lines on."""
        logging.getLogger().addHandler(self)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(self)


def _within(error: BaseException, library: Library) -> bool:
    """Tell whether an exception passed through the library, rather than only through the audit's own lines."""
    spec = importlib.util.find_spec(library.module)
    homes = spec.submodule_search_locations or [spec.origin or ""] if spec else []
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = Path(__file__).parent
    return any(file.is_relative_to(home) for file in files if not file.is_relative_to(ours) for home in homes if home)


def _compared(layer: Any, found: Tensor, expected: Tensor) -> dict[str, Any]:
    """Compare one block, and find the constant that would make it right."""
    seen = {"found": list(found.shape), "expected": list(expected.shape), "rel_error": None}
    if found.shape != expected.shape:
        return seen
    kept = found.detach() * within_groups(layer, len(expected) // len(layer.weight))
    factor = float((kept * expected).sum() / expected.square().sum())
    scaled = float((kept - factor * expected).norm() / expected.norm())
    return {**seen, "rel_error": difference(layer, found, expected), "factor": factor, "scaled_error": scaled}


@contextlib.contextmanager
def _own_dtype() -> Iterator[None]:
    """Give torch's default dtype back: scripts make it float64."""
    before = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def observe(library: Library, option: Option) -> dict[str, Any]:
    """Run one script.

    Args:
        library: The library.
        option: The option.

    Returns:
        What it showed of each block, how it ended, and all that was said meanwhile: warnings, log, standard output.
        Under ``"exception"``, what the library raised; under ``"failed"``, what was raised outside it, such as by a
        name that another version of it does not have.
    """
    text, name = script(library, option), f"{library.name}-{option.name}.py"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names: dict[str, Any] = {"__name__": "__main__"}
    record: dict[str, Any] = {"option": option.name, "blocks": {}, "said": [], "exception": "", "failed": ""}
    output, log = io.StringIO(), _Log(logging.WARNING)
    with _own_dtype(), warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(output), log.kept():
        warnings.simplefilter("always")
        try:
            exec(compile(text, name, "exec"), names)
        except Exception as error:
            first = next(iter(str(error).splitlines()), "")
            ending = "exception" if _within(error, library) else "failed"
            record[ending] = f"{type(error).__name__}: {first}"
        else:
            layer = names["layer"]
            record["blocks"] = {
                name: _compared(layer, value, names["expected"][name]) for name, value in names["found"].items()
            }
    own = tuple(f"{name}: [" for name in record["blocks"])
    printed = [line for line in output.getvalue().splitlines() if line.strip() and not line.startswith(own)]
    warned = [f"{warning.category.__name__}: {warning.message}" for warning in caught]
    record["said"] = sorted({*warned, *log.lines, *printed})
    return record


def main(library: str, options: list[str]) -> None:
    """Print one JSON line per option."""
    torch.set_num_threads(1)
    for name in options:
        print(json.dumps(observe(LIBRARIES[library], OPTIONS[name])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
