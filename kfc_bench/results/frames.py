"""Records as tidy frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kfc_bench.errors import UserError
from kfc_bench.results.run import ENVIRONMENT, Run, latest_by_case, list_runs, load_run
from kfc_bench.results.schema import (
    CONVERGENCE_COLUMNS,
    CORRELATION_COLUMNS,
    CORRELATION_ROW_COLUMNS,
    COST_COLUMNS,
    CURVE_COLUMNS,
    FIDELITY_COLUMNS,
    FIDELITY_ROW_COLUMNS,
    INVERSE_COLUMNS,
    PROFILE_COLUMNS,
    PROFILE_PART_COLUMNS,
    TRIAL_COLUMNS,
    VISIT_COLUMNS,
    Record,
)


@dataclass(frozen=True)
class Results:
    """Everything that was read from results folders.

    Attributes:
        cost: One row per case, `COST_COLUMNS` and `VISIT_COLUMNS`.
        convergence: One row per trial and evaluation, `CONVERGENCE_COLUMNS`.
        trials: One row per trial, `TRIAL_COLUMNS`.
        inverses: One row per inverse case, `INVERSE_COLUMNS`.
        profiles: One row per profiled step, `PROFILE_COLUMNS`.
        profile: One row per profiled step, layer and phase, `PROFILE_PART_COLUMNS`.
        fidelity: One row per network, layer and approximation, `FIDELITY_COLUMNS` and `FIDELITY_ROW_COLUMNS`.
        correlation: One row per network, layer and quantity, `CORRELATION_COLUMNS` and `CORRELATION_ROW_COLUMNS`.
        environments: Environment records by ``env_id``.
    """

    cost: pd.DataFrame
    convergence: pd.DataFrame
    trials: pd.DataFrame
    inverses: pd.DataFrame
    profiles: pd.DataFrame
    profile: pd.DataFrame
    fidelity: pd.DataFrame
    correlation: pd.DataFrame
    environments: dict[str, dict[str, Any]]

    @property
    def by_case(self) -> tuple[pd.DataFrame, ...]:
        """Frames that have a row for every case at least, each with its status."""
        return (self.cost, self.trials, self.inverses, self.profiles, self.fidelity, self.correlation)

    @property
    def is_empty(self) -> bool:
        """Whether there is no record at all."""
        return all(frame.empty for frame in self.by_case)


def _frame(records: Iterable[Record], columns: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(list(records), columns=list(columns))
    return frame.dropna(how="all").reset_index(drop=True)


def to_frames(records: list[Record], environments: dict[str, dict[str, Any]]) -> Results:
    """Turn records into frames; of several records of a case in a run, the newest counts.

    Args:
        records: Records, oldest first within a run.
        environments: Environment records by ``env_id``.

    Returns:
        The frames.
    """
    newest = list({(record["run_id"], record["case_id"]): record for record in records}.values())
    trials = [record for record in newest if record["experiment"] == "convergence"]
    points = [
        {**{name: trial.get(name) for name in CONVERGENCE_COLUMNS if name not in CURVE_COLUMNS}, **point}
        for trial in trials
        for point in trial.get("curve", [])
    ]
    profiles = [record for record in newest if record["experiment"] == "profile"]
    parts = [
        {**{name: record.get(name) for name in PROFILE_PART_COLUMNS}, **part}
        for record in profiles
        for part in record.get("parts", [])
    ]

    def rows(experiment: str, columns: Sequence[str]) -> list[Record]:
        """Repeat a record's own columns beside each of its rows, one empty row where it has none."""
        return [
            {**{name: record.get(name) for name in columns}, **row}
            for record in newest
            if record["experiment"] == experiment
            for row in record.get("rows") or [{}]
        ]

    return Results(
        cost=_frame((record for record in newest if record["experiment"] == "cost"), (*COST_COLUMNS, *VISIT_COLUMNS)),
        convergence=_frame(points, CONVERGENCE_COLUMNS),
        trials=_frame(trials, TRIAL_COLUMNS),
        inverses=_frame((record for record in newest if record["experiment"] == "inverse"), INVERSE_COLUMNS),
        profiles=_frame(profiles, PROFILE_COLUMNS),
        profile=_frame(parts, PROFILE_PART_COLUMNS),
        fidelity=_frame(rows("fidelity", FIDELITY_COLUMNS), (*FIDELITY_COLUMNS, *FIDELITY_ROW_COLUMNS)),
        correlation=_frame(rows("correlation", CORRELATION_COLUMNS), (*CORRELATION_COLUMNS, *CORRELATION_ROW_COLUMNS)),
        environments=environments,
    )


def run_frames(run: Run) -> Results:
    """Read one run.

    Args:
        run: The run.

    Returns:
        Its records as frames.
    """
    return to_frames(list(latest_by_case(run.records()).values()), {run.environment["env_id"]: run.environment})


def _runs_below(folder: Path, *, every_run: bool) -> list[Run]:
    if (folder / ENVIRONMENT).exists():
        return [load_run(folder)]
    runs: list[Run] = []
    for root in sorted({path.parent.parent for path in folder.rglob(ENVIRONMENT)}):
        written = [run for run in list_runs(root) if run.journal.exists() and run.journal.stat().st_size]
        runs += written if every_run else written[-1:]
    return runs


def load_results(folders: Sequence[Path], *, every_run: bool = False) -> Results:
    """Read results folders.

    Args:
        folders: Each a results folder, a folder that holds such folders at any depth, or one run.
        every_run: Read all runs of a folder instead of its newest.

    Returns:
        Their records as frames.

    Raises:
        UserError: A folder does not exist, or holds what this version cannot read.
    """
    records: list[Record] = []
    environments: dict[str, dict[str, Any]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such results folder; make one with: kfc-bench run quickstart")
        for run in _runs_below(folder, every_run=every_run):
            records.extend(latest_by_case(run.records()).values())
            environments[run.environment["env_id"]] = run.environment
    return to_frames(records, environments)
