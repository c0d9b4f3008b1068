"""From results folders to the rows that a chart draws. Nothing here needs streamlit."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from kfc_bench.errors import UserError
from kfc_bench.report.comparison import STEP_KEY, step_costs, times_to_target
from kfc_bench.report.outcomes import SGD
from kfc_bench.results.frames import Results, load_results
from kfc_dashboard.terms import PHASES

NUMBERS = (
    *(
        "batch",
        "rel_error",
        "error_gate",
        "time_median_s",
        "time_ci_low_s",
        "time_ci_high_s",
        "visits",
        "samples",
        "compile_s",
    ),
    *(
        "peak_memory_bytes",
        "peak_rss_bytes",
        "predicted_bytes",
        "percent_of_limit",
        "parameters",
        "trial",
        "seed",
        "steps",
        "lr",
    ),
    *(
        "momentum",
        "damping",
        "weight_decay",
        "target_value",
        "steps_to_target",
        "seconds_to_target",
        "seconds",
        "step",
        "epoch",
    ),
    *("final_train_loss", "final_validation_error", "final_test_error", "train_loss", "train_error", "validation_loss"),
    *("validation_error", "test_loss", "test_error"),
)

LINE = ["approximation", "implementation", "fisher", "clip", "dtype", "precision"]
"""Points that agree in these are joined by a line."""

POINT_COLUMNS = [*LINE, "phase", "batch", "measure", "value", "low", "high", "status", "reason"]
STUDY = ["problem", "network", "batch"]


@dataclass(frozen=True)
class Loaded:
    """What came of reading the folders.

    Attributes:
        results: The records; None if they cannot be read.
        problem: Why not, in one line.
        notes: What was left out.
    """

    results: Results | None
    problem: str | None = None
    notes: list[str] = field(default_factory=list)


_LOADING = threading.Lock()


def load(folders: Sequence[Path]) -> Loaded:
    """Read results folders, whatever is in them.

    Args:
        folders: As `kfc_bench.results.frames.load_results` takes them.

    Returns:
        Their records, or the reason why they cannot be shown.
    """
    named = ", ".join(str(folder) for folder in folders)
    # The warning filters belong to the whole process, and two pages may load at once.
    with _LOADING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            results = load_results(folders)
        except UserError as error:
            return Loaded(None, str(error))
        except OSError as error:
            return Loaded(None, f"{error.filename or named}: {error.strerror}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return Loaded(None, f"{named}: damaged: {type(error).__name__}: {error}")
    if results.cost.empty and results.trials.empty:
        return Loaded(None, f"{named}: no records in it; make some with: kfc-bench run quickstart")
    return Loaded(
        Results(*map(tidy, _frames(results)), results.environments), None, [str(warning.message) for warning in caught]
    )


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Hold every column to its type, so that a damaged value is a missing one.

    Args:
        frame: Records.

    Returns:
        Numbers as float64, everything else as words, truth values or None.
    """
    columns: dict[str, Any] = {}
    for name in frame.columns:
        if name in NUMBERS:
            columns[name] = pd.to_numeric(frame[name], errors="coerce").astype("float64")
        else:
            columns[name] = frame[name].map(
                lambda value: value if isinstance(value, (str, bool)) else None if _missing(value) else str(value)
            )
    return pd.DataFrame(columns, index=frame.index)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA


def signature(folders: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """Describe the files of results folders, so that a cache sees when one has grown.

    Args:
        folders: The folders.

    Returns:
        Path, size and time of change of every file that is read.
    """
    found = []
    for folder in folders:
        for pattern in ("environment.json", "journal.jsonl"):
            for path in sorted(folder.rglob(pattern)):
                status = path.stat()
                found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def run_ids(results: Results) -> list[str]:
    """List the runs.

    Args:
        results: Of any number of runs.

    Returns:
        Their names, the newest first: a run is named by the time it began.
    """
    return sorted({*results.cost["run_id"], *results.trials["run_id"]}, reverse=True)


def of_run(results: Results, run_id: str) -> Results:
    """Keep one run: one device, one code.

    Args:
        results: Of any number of runs.
        run_id: Which to keep.

    Returns:
        Its records and its environment.
    """
    frames = [frame[frame["run_id"] == run_id] for frame in _frames(results)]
    used = {env_id for frame in frames for env_id in frame["env_id"]}
    environments = {key: value for key, value in results.environments.items() if key in used}
    return Results(*frames, environments)


def _frames(results: Results) -> tuple[pd.DataFrame, ...]:
    """Return the frames in the order of `Results`."""
    return (
        results.cost,
        results.convergence,
        results.trials,
        results.inverses,
        results.profiles,
        results.profile,
        results.fidelity,
        results.correlation,
    )


def approximations(results: Results) -> list[str]:
    """List every approximation and optimizer, SGD among them.

    Args:
        results: Of one run.

    Returns:
        Their names, as records have them.
    """
    return sorted({*results.cost["approximation"].dropna(), *results.trials["optimizer"].dropna()})


def subjects(cost: pd.DataFrame) -> list[str]:
    """List what was measured.

    Args:
        cost: The cost frame.

    Returns:
        ``network NAME`` for training steps, that with the most records first, then ``layer NAME``.
    """
    found = []
    for column in ("network", "layer"):
        named = cost[cost["approximation"].notna() & cost[column].notna()]
        if column == "network":
            named = named[named["phase"] == "step"]
        counts = named[column].value_counts()
        found += [
            f"{column} {name}"
            for name in sorted(counts.index, key=lambda name: (-counts[name] * (column == "network"), name))
        ]
    return found


def of_subject(cost: pd.DataFrame, subject: str) -> pd.DataFrame:
    """Keep the rows of one of `subjects`.

    Args:
        cost: The cost frame.
        subject: Which.

    Returns:
        Its rows, those with an approximation.
    """
    column, _, name = subject.partition(" ")
    rows = cost[cost["approximation"].notna() & (cost[column] == name)]
    return rows[rows["phase"] == "step"] if column == "network" else rows


def phases_of(cost: pd.DataFrame) -> list[str]:
    """List the phases.

    Args:
        cost: The cost frame.

    Returns:
        In the order of their use, unknown ones last.
    """
    present = set(cost["phase"].dropna())
    return [*(phase for phase in PHASES if phase in present), *sorted(present - set(PHASES))]


def cost_points(cost: pd.DataFrame, *, relative: bool) -> pd.DataFrame:
    """Turn cost rows into points to draw, two of each row: its time and its peak memory.

    Args:
        cost: Rows of the cost frame, of one run.
        relative: Divide by SGD's step; rows without SGD beside them drop out.

    Returns:
        `POINT_COLUMNS`. Time in seconds, memory in bytes, or ratios. Memory of unsupported rows is the prediction; a
        row that did not finish has no time.
    """
    finished = cost["status"] == "ok"
    memory_bytes = cost["peak_memory_bytes"].where(
        finished, cost["predicted_bytes"].where(cost["status"] == "unsupported")
    )
    time = cost.assign(
        measure="time",
        value=cost["time_median_s"].where(finished),
        low=cost["time_ci_low_s"].where(finished),
        high=cost["time_ci_high_s"].where(finished),
    )
    memory = cost.assign(measure="memory", value=memory_bytes, low=math.nan, high=math.nan)
    if relative:
        time, memory = _time_ratios(cost, time), _memory_ratios(memory)
    points = pd.concat([time, memory], ignore_index=True)[POINT_COLUMNS]
    return points[~points["value"].isin([math.inf, -math.inf])].reset_index(drop=True)


def _time_ratios(cost: pd.DataFrame, time: pd.DataFrame) -> pd.DataFrame:
    ratios = step_costs(cost).drop(columns="peak_memory_bytes").drop_duplicates([*STEP_KEY, "approximation", "step_s"])
    joined = time.merge(
        ratios,
        left_on=[*STEP_KEY, "approximation", "value"],
        right_on=[*STEP_KEY, "approximation", "step_s"],
        how="left",
    )
    # SGD over itself is 1 by definition, not a measurement with an interval.
    itself = joined["approximation"] == SGD
    return joined.assign(
        value=joined["step_ratio"],
        low=joined["step_ratio_low"].mask(itself),
        high=joined["step_ratio_high"].mask(itself),
    )


def _memory_ratios(memory: pd.DataFrame) -> pd.DataFrame:
    is_sgd = (memory["approximation"] == SGD) & (memory["status"] == "ok")
    sgd = memory.assign(value=memory["value"].where(is_sgd)).groupby(STEP_KEY, dropna=False)["value"].transform("min")
    return memory.assign(value=memory["value"] / sgd)


def with_ratio(cost: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Set each row's time, relative to SGD's, beside it.

    Args:
        cost: Rows of the cost frame.
        points: Relative points of the same rows, from `cost_points`.

    Returns:
        The rows with ``time_ratio, time_ratio_low, time_ratio_high``.
    """
    key = [*LINE, "phase", "batch"]
    times = points[points["measure"] == "time"].drop_duplicates(key)
    names = {"value": "time_ratio", "low": "time_ratio_low", "high": "time_ratio_high"}
    return cost.merge(times[[*key, *names]].rename(columns=names), on=key, how="left")


def in_order(cost: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Sort rows as they are read: by phase, batch and approximation.

    Args:
        cost: Rows of the cost frame.
        names: Approximations in their order.

    Returns:
        The rows.
    """
    phases, ranks = phases_of(cost), {name: rank for rank, name in enumerate(names)}
    sortable = cost.assign(
        phase_rank=cost["phase"].map({phase: rank for rank, phase in enumerate(phases)}),
        rank=cost["approximation"].map(ranks),
    )
    ordered = sortable.sort_values(["phase_rank", "batch", "rank"], kind="stable")
    return ordered.drop(columns=["phase_rank", "rank"]).reset_index(drop=True)


def studies(trials: pd.DataFrame) -> list[str]:
    """List the training problems.

    Args:
        trials: The trials frame.

    Returns:
        Problem, network and batch of each, as `study_name` writes them.
    """
    named = trials.dropna(subset=STUDY)[STUDY].drop_duplicates().sort_values(STUDY)
    return [study_name(*row) for row in named.itertuples(index=False)]


def study_name(problem: str, network: str, batch: float) -> str:
    """Name a training problem.

    Args:
        problem: Data set.
        network: Network.
        batch: Examples per step.

    Returns:
        ``digits, network digits, batch 64``.
    """
    return f"{problem}, network {network}, batch {batch:.0f}"


def of_study(trials: pd.DataFrame, study: str) -> pd.DataFrame:
    """Keep the trials of one of `studies`.

    Args:
        trials: The trials frame.
        study: Which.

    Returns:
        Its trials.
    """
    named = trials.dropna(subset=STUDY)
    names = [study_name(*row) for row in named[STUDY].itertuples(index=False)]
    return named[pd.Series(names, index=named.index, dtype=object) == study]


def curves(convergence: pd.DataFrame, trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """Summarise the reporting trials' curves over seeds: median, lowest and highest at each evaluated step.

    A seed that diverged counts as infinite from there on, so that a line ends where half of its seeds have.

    Args:
        convergence: The convergence frame.
        trials: Those trials whose curves are wanted.
        column: What is drawn: ``test_error``, ``train_loss``, ...

    Returns:
        ``approximation, step, seconds, value, low, high, seeds``; seconds are medians over the seeds too.
    """
    columns = ["approximation", "step", "seconds", "value", "low", "high", "seeds"]
    report = trials[trials["role"] == "report"]
    points = convergence.merge(report[["run_id", "case_id"]], on=["run_id", "case_id"])
    summaries = []
    for name, group in points.groupby("optimizer"):
        wide = group.pivot_table(index="step", columns="case_id", values=column, aggfunc="last", dropna=False)
        if wide.empty:
            continue
        summaries.append(
            pd.DataFrame(
                {
                    "approximation": name,
                    "seconds": group.groupby("step")["seconds"].median(),
                    "value": wide.fillna(math.inf).median(axis=1),
                    "low": wide.min(axis=1),
                    "high": wide.max(axis=1),
                    "seeds": wide.notna().sum(axis=1),
                }
            ).reset_index()
        )
    if not summaries:
        return pd.DataFrame(columns=columns)
    summary = pd.concat(summaries, ignore_index=True)
    return summary[summary["value"].map(math.isfinite)][columns].reset_index(drop=True)


def targets(trials: pd.DataFrame) -> dict[str, float]:
    """Return the target value by metric: ``{"error": 0.03}``."""
    known = trials.dropna(subset=["target_metric", "target_value"]).drop_duplicates("target_metric")
    return dict(zip(known["target_metric"], known["target_value"], strict=True))


def target_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the time to target of each optimizer, infinite ones empty.

    Args:
        trials: The trials of one study.

    Returns:
        One row per optimizer, soonest first, with ``reached`` as "x of y".
    """
    summary = times_to_target(trials)
    timed = ["steps_to_target", "seconds_to_target", "steps_ratio", "seconds_ratio"]
    summary[timed] = summary[timed].astype("float64").where(lambda values: values.abs() < math.inf)
    reached = [f"{there} of {seeds}" for there, seeds in zip(summary["seeds_reached"], summary["seeds"], strict=True)]
    return summary.assign(reached=reached).sort_values("seconds_to_target", kind="stable").reset_index(drop=True)


def tuning_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the tuning trials, the best of each optimizer first.

    Args:
        trials: The trials of one study.

    Returns:
        One row per trial; ``best`` marks those hyperparameters that the optimizer's reporting trials use.
    """
    values = ["optimizer", "lr", "momentum", "damping", "batch", "schedule"]
    known = trials[values].astype(object).where(trials[values].notna(), None)
    keys = pd.Series(list(known.itertuples(index=False, name=None)), index=trials.index, dtype=object)
    is_tuning = trials["role"] == "tuning"
    tuning = trials[is_tuning]
    best = keys[is_tuning].isin(set(keys[trials["role"] == "report"]))
    ranked = tuning.assign(best=best, unranked=~best, examples=tuning["steps_to_target"] * tuning["batch"])
    order = ["optimizer", "unranked", "examples", "final_validation_error"]
    return ranked.sort_values(order, kind="stable").drop(columns=["unranked", "examples"]).reset_index(drop=True)


def tuning_summary(tuning: pd.DataFrame) -> pd.DataFrame:
    """Count each optimizer's tuning trials.

    Args:
        tuning: From `tuning_table`.

    Returns:
        ``optimizer, trials, reached, failed`` and the fewest steps to the target on validation data.
    """
    groups = tuning.groupby("optimizer", sort=False)
    return pd.DataFrame(
        {
            "trials": groups.size(),
            "reached": groups["steps_to_target"].count(),
            "failed": groups["status"].agg(lambda statuses: int((statuses != "ok").sum())),
            "steps_to_target": groups["steps_to_target"].min(),
        }
    ).reset_index()
