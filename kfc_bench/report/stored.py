"""Runs on disk, as `compare` needs them: the one that a path means, and the history around it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kfc_bench.errors import UserError
from kfc_bench.report.history import Medians
from kfc_bench.report.machine import flat
from kfc_bench.results.fingerprint import fingerprint
from kfc_bench.results.run import ENVIRONMENT, Run, latest_by_case, list_runs, load_run


def _root(path: Path) -> Path:
    return path.parent if (path / ENVIRONMENT).exists() else path


def find_run(path: Path, instead: str = "make one with: kfc-bench run quickstart") -> Run:
    """Find the run that a path means.

    Args:
        path: A results folder, for its newest run, or one run's own folder.
        instead: What would be right where there is no such folder, for the message.

    Returns:
        The run.

    Raises:
        UserError: There is none.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such results folder; {instead}")
    if (path / ENVIRONMENT).exists():
        return load_run(path)
    runs = [run for run in list_runs(path) if run.journal.exists()]
    if not runs:
        raise UserError(f"{path}: no run in it; name a results folder, or one run's folder in it")
    return runs[-1]


def history(paths: Sequence[Path], without: Run) -> list[list[Medians]]:
    """Collect runs that were repeated: same code, same device, that of the run to be judged.

    Args:
        paths: Results folders, or runs in them.
        without: A run that is left out: the one to be judged.

    Returns:
        Median seconds by case, by run, by set of equal fingerprints.
    """
    sets: dict[str, list[Medians]] = {}
    for root in sorted({_root(path).resolve() for path in paths}):
        for run in list_runs(root):
            same_device = run.environment["device"] == without.environment["device"]
            if same_device and run.folder.resolve() != without.folder.resolve():
                medians = {
                    case_id: record["time_median_s"]
                    for case_id, record in latest_by_case(run.records()).items()
                    if record["status"] == "ok" and record.get("time_median_s")
                }
                sets.setdefault(json.dumps(fingerprint(run.environment)), []).append(medians)
    return list(sets.values())


def changed(a: Run, b: Run) -> list[str]:
    """Say which facts of two runs' environments differ, as ``key: A -> B``."""
    old, new = flat(a.environment), flat(b.environment)
    keys = [key for key in sorted(old | new) if key not in ("run_id", "env_id")]
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys if old.get(key) != new.get(key)]
