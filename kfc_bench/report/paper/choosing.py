"""docs/choosing.md: what to use when, each statement made by a rule from the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from kfc_bench.report.comparison import SGD, step_costs
from kfc_bench.report.paper.evidence import Evidence, newest
from kfc_bench.report.units import ratio, seconds, size, three

OPENING = """# What to use when

What the committed results say to someone who has to choose, written by `kfc-bench paper`. Every sentence is made by a
rule from the numbers in it, so it holds for the networks, batches and devices that it names, and for no other. Ratios
are to SGD with momentum on the same network, batch and device; intervals in brackets are 95 %."""

MISSING = "No results yet."


def render(evidence: Evidence, document: Path) -> str:
    """Write the page.

    Args:
        evidence: The results.
        document: Where it will lie; links are relative to it.

    Returns:
        Markdown.
    """
    parts = {
        "What a step costs": _step_costs(evidence, document),
        "What a step needs of memory": _memory(evidence, document),
        "What reaches a target first": _targets(evidence, document),
        "What is closest to the exact Fisher matrix": _fidelity(evidence, document),
    }
    texts = [
        f"## {title}\n\n" + ("\n".join(lines) or MISSING) for title, found in parts.items() for lines in [[*found]]
    ]
    return "\n\n".join([OPENING, *texts]) + "\n"


def _steps(evidence: Evidence) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield network and device, run and step costs, batch by batch, of the newest run that compares several steps."""
    cost = evidence.results.cost
    steps = step_costs(cost)
    runs = dict(zip(cost["env_id"], cost["run_id"], strict=True))
    steps = steps.assign(run_id=steps["env_id"].map(runs))
    for (network, batch), group in steps.dropna(subset=["step_ratio"]).groupby(["network", "batch"]):
        own = newest(group)
        yield f"{network} at batch {batch:g} ({evidence.device(own)})", str(own["run_id"].iloc[0]), own


def _named(row: pd.Series[float]) -> str:
    clip = pd.to_numeric(row["clip"])
    return f"{row['approximation']} with clipping" if clip > 0 else str(row["approximation"])


def _step_costs(evidence: Evidence, document: Path) -> Iterator[str]:
    for where, run, steps in _steps(evidence):
        others = steps[steps["approximation"] != SGD].sort_values("step_ratio")
        if others.empty:
            continue
        said = [
            f"{_named(row)} {ratio(row['step_ratio'])} "
            f"[{three(row['step_ratio_low'])}, {three(row['step_ratio_high'])}]"
            for _, row in others.iterrows()
        ]
        step = steps.loc[steps["approximation"] == SGD, "step_s"].min()
        yield (
            f"- {where}: SGD's step takes {seconds(step)}; cheapest of the rest is {said[0]}"
            f"{''.join(f', then {words}' for words in said[1:])}. {evidence.links([run], document)}"
        )


def _memory(evidence: Evidence, document: Path) -> Iterator[str]:
    for where, run, steps in _steps(evidence):
        needs = steps.dropna(subset=["peak_memory_bytes"]).drop_duplicates(["approximation", "clip"])
        base = needs.loc[needs["approximation"] == SGD, "peak_memory_bytes"].min()
        others = needs[needs["approximation"] != SGD].sort_values("peak_memory_bytes")
        if others.empty or math.isnan(base):
            continue
        said = ", ".join(
            f"{_named(row)} {size(row['peak_memory_bytes'])} ({ratio(row['peak_memory_bytes'] / base)})"
            for _, row in others.iterrows()
        )
        yield f"- {where}: SGD needs {size(base)}; least first, {said}. {evidence.links([run], document)}"


def _targets(evidence: Evidence, document: Path) -> Iterator[str]:
    trials = evidence.results.trials
    for (section, problem, network), group in trials[trials["role"] == "report"].groupby(
        ["section", "problem", "network"]
    ):
        own = newest(group)
        ended = own.assign(arrived=own["seconds_to_target"].where(own["status"] == "ok").astype(float))
        medians = ended["arrived"].fillna(math.inf).groupby(ended["optimizer"]).median().sort_values(kind="stable")
        reached = ended.groupby("optimizer")["arrived"].count().to_dict()
        seeds = ended.groupby("optimizer")["seed"].nunique().to_dict()
        said = ", ".join(f"{name} {seconds(time)} ({reached[name]} of {seeds[name]})" for name, time in medians.items())
        target = f"{own['target_metric'].iloc[0]} {own['target_value'].iloc[0]:g}"
        first = medians.index[0] if medians.iloc[0] < math.inf else "none"
        yield (
            f"- {problem} by {network}, section {section}, to {target} ({evidence.device(own)}): "
            f"first is {first}; median seconds, and seeds that arrived: {said}. {evidence.links(list(own['run_id'].unique()), document)}"
        )


def _fidelity(evidence: Evidence, document: Path) -> Iterator[str]:
    rows = evidence.results.fidelity.query("status == 'ok' and source == 'type2'")
    whole = rows[rows["layer"].isna() & rows["frobenius"].notna() & (rows["approximation"] != "exact")]
    for (problem, network), group in whole.groupby(["problem", "network"]):
        own = newest(group)
        last = own[own["epoch"] == own["epoch"].max()]
        medians = last["frobenius"].astype(float).groupby(last["approximation"]).median().sort_values(kind="stable")
        said = ", ".join(f"{name} {three(error)}" for name, error in medians.items())
        yield (
            f"- {problem} by {network} after {last['epoch'].max():g} epochs: relative Frobenius error of the whole "
            f"matrix, least first: {said}. {evidence.links(list(own['run_id'].unique()), document)}"
        )
