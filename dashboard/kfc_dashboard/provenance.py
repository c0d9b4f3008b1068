"""Where what is shown was measured, and how much of it went well."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from kfc_bench.results.frames import Results

FAILED = ("wrong", "oom", "timeout", "crashed", "diverged")


def escape(text: object) -> str:
    """Return text that Markdown shows as it stands, on one line."""
    return re.sub(r"([^\w\s,/])", r"\\\1", " ".join(str(text).split()))


def provenance(environment: dict[str, Any], run_id: str) -> str:
    """Write the line under a chart.

    Args:
        environment: The run's environment record; what it lacks is left out.
        run_id: The run.

    Returns:
        Markdown: device with its badge, versions, commit, run.
    """
    kind = environment.get("device_kind")
    badge = (
        ":orange-badge[CPU, no GPU]"
        if kind == "cpu"
        else f":green-badge[{'GPU' if kind == 'cuda' else escape(kind or 'device unknown')}]"
    )
    commit = environment.get("commit")
    parts = [
        escape(environment.get("device", "device unknown")),
        *(f"{name} {escape(environment[name])}" for name in ("torch", "triton") if environment.get(name)),
        f"commit {escape(str(commit)[:8])}" if commit else "commit unknown",
        f"run {escape(run_id)}",
    ]
    return f"{badge} :small[{' · '.join(parts)}]"


def failures(results: Results) -> pd.DataFrame:
    """List the cases and trials that failed.

    Args:
        results: Of one run.

    Returns:
        ``case, status, reason``, one row each.
    """
    cost = results.cost[results.cost["status"].isin(FAILED)]
    trials = results.trials[results.trials["status"].isin(FAILED)]
    rows = [
        *(
            _named(row, [row["layer"] or row["network"], row["approximation"] or row["operator"], row["phase"]])
            for row in cost.to_dict("records")
        ),
        *(
            _named(row, [row["problem"], row["optimizer"], row["role"], f"lr {row['lr']:.3g}"])
            for row in trials.to_dict("records")
        ),
    ]
    return pd.DataFrame(rows, columns=["case", "status", "reason"])


def _named(row: dict[Any, Any], words: list[Any]) -> dict[str, Any]:
    batch = [] if pd.isna(row["batch"]) else [f"batch {row['batch']:.0f}"]
    case = " ".join([*(word for word in words if isinstance(word, str)), *batch])
    return {"case": case, "status": row["status"], "reason": row["reason"]}
