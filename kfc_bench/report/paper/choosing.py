"""docs/choosing.md: what to use when, each statement made by a rule from the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from kfc_bench.report.comparison import step_costs
from kfc_bench.report.names import APPROXIMATIONS
from kfc_bench.report.outcomes import SGD
from kfc_bench.report.paper.evidence import Evidence, newest
from kfc_bench.report.paper.pairing import by_seed, mean_ratio
from kfc_bench.report.units import ratio, seconds, size, three

OPENING = """# What to use when

What the committed results say to someone who has to choose, written by `kfc-bench paper`. Every sentence is made by a
rule from the numbers in it, so it holds for the networks, batches and devices that it names, and for no other. Ratios
are to SGD with momentum on the same network, batch and device; intervals in brackets are 95 %."""

MISSING = "No results yet."

RANKED = [name for name in APPROXIMATIONS if name not in ("exact", "prong")]
"""What is shipped, by its error: the exact matrix has none, and PRONG's is not to the Fisher matrix's scale."""


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
        arrived = own["seconds_to_target"].where(own["status"] == "ok").astype(float)
        ended = own.assign(arrived=arrived, optimizer=_with_batch(own))
        medians = ended["arrived"].fillna(math.inf).groupby(ended["optimizer"]).median().sort_values(kind="stable")
        reached = ended.groupby("optimizer")["arrived"].count().to_dict()
        seeds = ended.groupby("optimizer")["seed"].nunique().to_dict()
        said = ", ".join(
            f"{name} {seconds(time)} ({reached[name]} of {seeds[name]} seeds{_beside_sgd(ended, str(name))})"
            for name, time in medians.items()
        )
        target = f"{own['target_metric'].iloc[0]} {own['target_value'].iloc[0]:g}"
        first = medians.index[0] if medians.iloc[0] < math.inf else "none"
        where = f"{problem} by {network}, section {section}, to {target} ({evidence.device(own)})"
        links = evidence.links(list(own["run_id"].unique()), document)
        yield f"- {where}: first is {first}; medians, and seeds that arrived: {said}. {links}"


def _with_batch(trials: pd.DataFrame) -> pd.Series[str]:
    """Name optimizers, with the batch where one was run at several."""
    several = trials.groupby("optimizer")["batch"].transform("nunique") > 1
    return trials["optimizer"].astype(str) + (" at batch " + trials["batch"].map("{:g}".format)).where(several, "")


def _beside_sgd(trials: pd.DataFrame, name: str) -> str:
    """Say whether an optimizer arrives earlier than SGD, by an interval over paired seeds; nothing of SGD itself."""
    first, second = (trials[trials["optimizer"] == optimizer] for optimizer in (SGD, name))
    if name == SGD or first.empty:
        return ""
    if first["arrived"].isna().any() or second["arrived"].isna().any():
        return "; not every seed of both arrived"
    found = mean_ratio(by_seed(first, second, lambda a, b: a["arrived"].iloc[0] / b["arrived"].iloc[0]))
    verdict = (
        "faster than SGD" if found.low > 1 else "slower than SGD" if found.high < 1 else "no difference to SGD shown"
    )
    return f"; {verdict}: {found}"


def _fidelity(evidence: Evidence, document: Path) -> Iterator[str]:
    rows = evidence.results.fidelity.query("status == 'ok' and source == 'type2'")
    whole = rows[rows["layer"].isna() & rows["frobenius"].notna() & rows["approximation"].isin(RANKED)]
    for (problem, network), group in whole.groupby(["problem", "network"]):
        own = newest(group)
        last = own[own["epoch"] == own["epoch"].max()]
        damping = last["damping"].min()
        least = last[last["damping"] == damping].astype({"frobenius": float, "model_decrease": float})
        medians = least.groupby("approximation")[["frobenius", "model_decrease"]].median()
        ranked = medians.sort_values("frobenius", kind="stable")
        said = ", ".join(f"{name} {three(error)} ({three(decrease)})" for name, error, decrease in ranked.itertuples())
        seeds = last["seed"].nunique()
        yield (
            f"- {problem} by {network} after {last['epoch'].max():g} epochs: relative Frobenius error of the whole "
            f"matrix, and in brackets the step's share of the exact one's model decrease at damping {damping:g}, "
            f"medians over {seeds} seed{'s' * (seeds != 1)}, least error first: {said}. "
            f"{evidence.links(list(own['run_id'].unique()), document)}"
        )
