"""Files to take away: tidy CSV, and a wide one for papers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from kfc_bench.errors import UserError
from kfc_bench.report.comparison import comparison
from kfc_bench.results.frames import Results


def _write_whole(frame: pd.DataFrame, path: Path) -> None:
    """Write beside the target and move over it, so that a full disk leaves the old file whole."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".csv", delete=False, newline="") as file:
            temporary = Path(file.name)
            frame.to_csv(file, index=False, lineterminator="\n")
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: {error.strerror}; name another folder with --out") from error


def export_csv(results: Results, folder: Path) -> list[Path]:
    """Write ``cost.csv``, ``convergence.csv``, ``trials.csv`` (tidy) and ``comparison.csv`` (wide).

    Args:
        results: What was measured.
        folder: Where to.

    Returns:
        The files written; a frame without rows writes none.

    Raises:
        UserError: A file cannot be written.
    """
    frames = {
        "cost": results.cost,
        "convergence": results.convergence,
        "trials": results.trials,
        "comparison": comparison(results.cost, results.trials),
    }
    written = []
    for name, frame in frames.items():
        if not frame.empty:
            _write_whole(frame, folder / f"{name}.csv")
            written.append(folder / f"{name}.csv")
    return written
