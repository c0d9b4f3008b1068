"""The rule on errors that the paper says when they are reached."""

from __future__ import annotations

import math

import pandas as pd

from kfc_bench.report.outcomes import SGD
from kfc_bench.report.paper.evidence import Evidence, Section
from kfc_bench.report.paper.pairing import by_seed, mean_ratio, when
from kfc_bench.report.paper.reference import Item, Level
from kfc_bench.report.paper.rules.speed import KFC_PRE, NAMES, factor_claims, not_run
from kfc_bench.report.paper.verdicts import Claim, Finding, judge
from kfc_bench.report.units import three


def levels(evidence: Evidence, item: Item) -> Finding:
    """Judge that KFC-pre reaches each stated level, earlier than SGD and by the stated factor.

    Args:
        evidence: The results.
        item: With its data, part, clock and levels.

    Returns:
        The finding.
    """
    section = evidence.section(item.data, item.part)
    if section is None or not len(section.of(KFC_PRE)) or SGD not in set(section.trials["optimizer"]):
        return not_run(item.data)
    asked = item.levels
    if section.missing:
        target = section.trials.iloc[0]
        metric = f"validation_{target['target_metric']}"
        asked = (Level(metric, float(target["target_value"]), item.levels[0].factor),)
    claims = [claim for level in asked for claim in _claims(section, item.clock, level)]
    return judge(claims, section.setting, section.runs, section.missing)


def _claims(section: Section, clock: str, level: Level) -> list[Claim]:
    def arrival(curve: pd.DataFrame) -> float:
        known = curve[[clock, level.metric]].dropna()
        return when(known[clock], known[level.metric], level.level)

    def ratio(slow: pd.DataFrame, fast: pd.DataFrame) -> float:
        """Return SGD's time over KFC-pre's; that of its whole run, a lower bound, where it never arrives."""
        after = arrival(fast)
        before = min(arrival(slow), slow[clock].max())
        return before / after if 0 < after < math.inf else math.nan

    what = f"{NAMES[clock]} to {level.metric.replace('_', ' ')} {three(level.level)}"
    pairs = {name: section.of(name) for name in (SGD, KFC_PRE)}
    arrivals = {name: [arrival(own) for _, own in curves.groupby("seed")] for name, curves in pairs.items()}
    reached = {name: sum(time < math.inf for time in times) for name, times in arrivals.items()}
    seeds = section.trials.groupby("optimizer")["seed"].nunique()
    counts = {name: f"{reached[name]} of {seeds.get(name, 0)} seeds" for name in reached}
    arrived = reached[KFC_PRE] == seeds[KFC_PRE]
    claims = [
        Claim(
            f"KFC-pre reaches {what.split(' to ')[1]} with every seed ({counts[KFC_PRE]}; SGD {counts[SGD]})", arrived
        )
    ]
    if not arrived:
        return [*claims, Claim(f"{what}: SGD over KFC-pre, above 1", holds=False)]
    bound = " at least (SGD's whole run where it never arrives)" if reached[SGD] < len(arrivals[SGD]) else ""
    return [*claims, *factor_claims(mean_ratio(by_seed(pairs[SGD], pairs[KFC_PRE], ratio)), what + bound, level.factor)]
