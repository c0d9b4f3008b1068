"""What became of each trial: when it met its target, and how long it was watched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from kfc_bench.results.frames import Results

SGD = "sgd"
STUDY = ["env_id", "device", "problem", "network", "section"]
"""What trials that are compared have in common; their batches need not be, for they are tuned."""

SEED = ["run_id", "seed"]
"""What pairs the trials of two optimizers in a study."""

MEASURES = ("steps", "epochs", "seconds")
_TRIAL = ["run_id", "case_id"]
_ENDS = {"step": "steps_run", "epoch": "epochs_run", "seconds": "seconds_run", "validation_loss": "last_loss"}


def outcomes(results: Results, role: str) -> pd.DataFrame:
    """Set beside each trial when it met its target and how long it was watched, in steps, epochs and seconds.

    Args:
        results: What was measured.
        role: ``"report"`` or ``"tuning"``.

    Returns:
        The trials with ``steps_to_target``, ``epochs_to_target`` and ``seconds_to_target``, infinite where the target
        was not met or the trial failed after all; ``steps_run``, ``epochs_run`` and ``seconds_run``, up to the last
        evaluation that gave numbers; ``last_loss`` on validation data there; ``ended`` and ``diverged``.
    """
    points = results.convergence.sort_values("step", kind="stable")
    ends = points.groupby(_TRIAL)[list(_ENDS)].last().astype(float).rename(columns=_ENDS)
    trials = results.trials[results.trials["role"] == role].merge(ends, on=_TRIAL, how="left")
    ended = trials["status"] == "ok"
    met = ended & trials["steps_to_target"].notna()
    steps, seconds = (trials[name].astype(float) for name in ("steps_to_target", "seconds_to_target"))
    return trials.assign(
        ended=ended,
        diverged=trials["status"] == "diverged",
        steps_to_target=steps.where(met, math.inf),
        epochs_to_target=(steps / trials["steps_run"] * trials["epochs_run"]).where(met, math.inf),
        seconds_to_target=seconds.where(met, math.inf),
    )


def study_name(study: Mapping[Any, Any], studies: pd.DataFrame) -> str:
    """Name a study by its problem and network, and by its section where others share both.

    Args:
        study: Its `STUDY` columns.
        studies: All studies that are shown.

    Returns:
        The name.
    """
    same = studies[(studies["problem"] == study["problem"]) & (studies["network"] == study["network"])]
    where = study["problem"] if study["problem"] == study["network"] else f"{study['problem']}, {study['network']}"
    return where if same["section"].nunique() == 1 else f"{where}, {study['section']}"
