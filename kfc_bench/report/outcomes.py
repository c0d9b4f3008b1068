"""What became of each trial: when it met its target, and how long it was watched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
_SEARCH = ["run_id", *STUDY]
_TARGET = ["target_metric", "target_value"]
_SETTINGS = ["batch", "steps", "lr", "momentum", "damping", "weight_decay", "schedule", "clip", "averaging"]
_ENDS = {"step": "steps_run", "epoch": "epochs_run", "seconds": "seconds_run", "validation_loss": "last_loss"}


def _as_the_newest(trials: pd.DataFrame, key: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Keep the trials that share the columns of the newest trial with the same key."""
    newest = trials.drop_duplicates(key, keep="last")[[*key, *columns]]
    return trials.merge(newest, on=[*key, *columns])


def current(trials: pd.DataFrame, role: str) -> pd.DataFrame:
    """Leave out what an earlier version of the suite asked for, where an edited one went on in the same run.

    Args:
        trials: The trials frame, oldest first.
        role: ``"report"`` or ``"tuning"``.

    Returns:
        The trials of that role with their study's newest target; of reporting trials only those with their optimizer's
        newest settings, one a seed.
    """
    own = _as_the_newest(trials, _SEARCH, _TARGET)
    own = own[own["role"] == role]
    if role == "tuning":
        return own
    optimizer = [*_SEARCH, "optimizer"]
    return _as_the_newest(own, optimizer, _SETTINGS).drop_duplicates([*optimizer, "seed"], keep="last")


def outcomes(results: Results, role: str) -> pd.DataFrame:
    """Set beside each trial when it met its target and how long it was watched, in steps, epochs and seconds.

    Args:
        results: What was measured.
        role: ``"report"`` or ``"tuning"``.

    Returns:
        The `current` trials with ``steps_to_target``, ``examples_to_target``, ``epochs_to_target`` and
        ``seconds_to_target``, infinite where the target was not met or the trial failed after all;
        ``steps_run``, ``epochs_run`` and ``seconds_run``, up to the last evaluation that gave numbers; ``last_loss``
        on validation data there; ``ended`` and ``diverged``.
    """
    points = results.convergence.sort_values("step", kind="stable")
    ends = points.groupby(_TRIAL)[list(_ENDS)].last().astype(float).rename(columns=_ENDS)
    trials = current(results.trials, role).merge(ends, on=_TRIAL, how="left")
    ended = trials["status"] == "ok"
    met = ended & trials["steps_to_target"].notna()
    steps, seconds = (trials[name].astype(float) for name in ("steps_to_target", "seconds_to_target"))
    examples = steps * trials["batch"]
    images = trials["steps_run"] * trials["batch"] / trials["epochs_run"]
    return trials.assign(
        ended=ended,
        diverged=trials["status"] == "diverged",
        steps_to_target=steps.where(met, math.inf),
        examples_to_target=examples.where(met, math.inf),
        # Whole images, so that as many examples are as many epochs at any batch.
        epochs_to_target=(examples / images.round()).where(met, math.inf),
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
