"""Results with the folders they come from, and the sections of `suites/paper.toml` in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kfc_bench.report.tables import device_badge
from kfc_bench.results.frames import Results, load_results
from kfc_bench.results.run import ENVIRONMENT

STAND_IN = "fashion"
"""Where the paper's data sets were not run, these results are shown, and the verdict says so."""


@dataclass(frozen=True)
class Section:
    """The reporting trials of a section of the suite.

    Attributes:
        trials: One row per trial, of the newest run that has the section.
        curves: Their evaluations, of those trials that ended well, with their ``batch``.
        device: What they ran on.
        missing: The paper's data set, where another stands in for it.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    device: str
    missing: tuple[str, ...]

    def of(self, optimizer: str, **where: object) -> pd.DataFrame:
        """Return the curves of an optimizer, of those trials whose columns have these values."""
        own = self.curves[self.curves["optimizer"] == optimizer]
        for name, value in where.items():
            own = own[own[name] == value]
        return own

    @property
    def runs(self) -> tuple[str, ...]:
        """Return the ids of its runs."""
        return tuple(self.trials["run_id"].unique())

    @property
    def setting(self) -> str:
        """Say what was run."""
        how = self.trials.groupby(["problem", "network", "optimizer"], sort=False)
        parts = [
            f"{problem} by {network}, {optimizer} at batch {_listed(own['batch'])} "
            f"({own['seed'].nunique()} seeds{_failed(own)})"
            for (problem, network, optimizer), own in how
        ]
        return "; ".join([*parts, self.device])


def _listed(batches: pd.Series[float]) -> str:
    return ", ".join(f"{batch:g}" for batch in sorted(set(batches)))


def _failed(trials: pd.DataFrame) -> str:
    counts = trials.loc[trials["status"] != "ok", "status"].value_counts()
    return "".join(f", {count} {status}" for status, count in counts.items())


@dataclass(frozen=True)
class Evidence:
    """Results and where they lie.

    Attributes:
        results: The frames.
        folders: Results folder by run id.
    """

    results: Results
    folders: dict[str, Path]

    def section(self, data: str, part: str) -> Section | None:
        """Return a section, on Fashion-MNIST where the paper's data set was not run; None if neither was."""
        for name, missing in ((f"{data}-{part}", ()), (f"{STAND_IN}-{part}", (data,))):
            everything = self.results.trials
            trials = newest(everything[(everything["section"] == name) & (everything["role"] == "report")])
            if len(trials):
                key = ["run_id", "case_id"]
                ended = trials.loc[trials["status"] == "ok", [*key, "batch"]]
                return Section(trials, self.results.convergence.merge(ended, on=key), self.device(trials), missing)
        return None

    def device(self, rows: pd.DataFrame) -> str:
        """Say what rows were measured on."""
        return "; ".join(device_badge(self.results, env_id) for env_id in rows["env_id"].unique())

    def links(self, runs: Sequence[str], document: Path) -> str:
        """Return Markdown links from a document to the folders of runs."""
        folders = dict.fromkeys(self.folders[run] for run in runs)
        paths = [Path(os.path.relpath(folder, document.parent.resolve())).as_posix() for folder in folders]
        return ", ".join(f"[{path.replace('../', '')}]({path})" for path in paths)


def newest(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the newest run; run ids begin with the time."""
    return rows[rows["run_id"] == rows["run_id"].max()]


def gather(folders: Sequence[Path]) -> Evidence:
    """Read results folders.

    Args:
        folders: As `load_results` takes them.

    Returns:
        The results with their folders.

    Raises:
        UserError: A folder does not exist, or holds what this version cannot read.
    """
    results = load_results(folders)
    runs = [path.parent.resolve() for folder in folders for path in folder.rglob(ENVIRONMENT)]
    return Evidence(results, {run.name: run.parent for run in runs})
