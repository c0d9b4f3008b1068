"""Rules on how much earlier an optimizer reaches what both reach."""

from __future__ import annotations

from functools import partial

import pandas as pd

from kfc_bench.report.outcomes import SGD
from kfc_bench.report.paper.evidence import Evidence, Section
from kfc_bench.report.paper.pairing import Paired, by_seed, mean_difference, mean_ratio, speedup
from kfc_bench.report.paper.reference import Item, reference
from kfc_bench.report.paper.verdicts import Claim, Finding, Verdict, absent, judge
from kfc_bench.report.units import three

KFC_PRE = "kfc_pre"
NAMES = {"seconds": "time", "step": "updates"}
OTHERS = ("adagrad", "rmsprop", "adam")


def not_run(*data: str) -> Finding:
    """Return what is found where there are no results.

    Args:
        data: The data sets that would be needed.
    """
    return Finding(Verdict.NOT_RUN, reason=f"{absent(*data)}; no results on Fashion-MNIST either")


def claim(found: Paired, words: str, holds: bool) -> Claim:
    """Return a claim about paired seeds, undecided where they give no interval."""
    return Claim(f"{words} {found}", holds if found.decided else None)


def factor_claims(found: Paired, what: str, factor: float) -> list[Claim]:
    """Claim that KFC-pre is faster, and by the paper's factor.

    Args:
        found: SGD's time over KFC-pre's.
        what: Words for what was reached.
        factor: The paper's ratio.

    Returns:
        Both claims.
    """
    faster = found.low > 1
    return [
        claim(found, f"{what}, SGD over KFC-pre, above 1:", faster),
        Claim(
            f"{what}, as many times as in the paper, {three(factor)}",
            (faster and found.high >= factor) if found.decided else None,
        ),
    ]


def ended(section: Section) -> Claim:
    """State the condition that no trial of SGD or KFC-pre failed: curves are of those that ended well."""
    trials = section.trials[section.trials["optimizer"].isin((SGD, KFC_PRE))]
    well = trials["status"] == "ok"
    return Claim(f"every trial of both ended, {well.sum()} of {len(well)}", bool(well.all()), condition=True)


def no_worse(sgd: pd.DataFrame, kfc_pre: pd.DataFrame, metric: str, where: str = "") -> Claim:
    """State the condition that KFC-pre's best is not above SGD's; undecided where the interval holds both signs.

    Args:
        sgd: Curves of SGD.
        kfc_pre: Curves of KFC-pre.
        metric: The column that falls.
        where: Which network, in words.

    Returns:
        The condition.
    """
    found = mean_difference(by_seed(sgd, kfc_pre, lambda a, b: float(b[metric].min() - a[metric].min())))
    holds = True if found.high <= 0 else False if found.low > 0 else None
    return Claim(f"{words(metric)}{where}, KFC-pre less SGD, not above 0: {found}", holds, condition=True)


def curves(evidence: Evidence, item: Item) -> Finding:
    """Judge Figs. 1 and 2: KFC-pre reaches what both reach earlier than SGD, by the factor of the paper's curves.

    Args:
        evidence: The results.
        item: With its data, part, clock and metrics.

    Returns:
        The finding.
    """
    section = evidence.section(item.data, item.part)
    if section is None:
        return not_run(item.data)
    claims = [ended(section)]
    sgd, kfc_pre = section.of(SGD), section.of(KFC_PRE)
    for metric in item.metrics:
        found = mean_ratio(by_seed(sgd, kfc_pre, partial(speedup, clock=item.clock, metric=metric)))
        paper = [
            reference().curve(item.part, item.data, name, metric).rename(columns={"value": metric})
            for name in (SGD, KFC_PRE)
        ]
        factor = speedup(paper[0], paper[1], "clock", metric)
        claims += factor_claims(found, f"{NAMES[item.clock]} to the {words(metric)} that both reach", factor)
        if metric.startswith("train"):
            claims.append(no_worse(sgd, kfc_pre, metric))
    return judge(claims, section.setting, section.runs, section.missing)


def words(metric: str) -> str:
    """Name a column of a curve: ``best test error``."""
    where, what = metric.split("_")
    return f"best {'training' if where == 'train' else where} {what}"


def others(evidence: Evidence, item: Item) -> Finding:
    """Judge that none of Adagrad, RMSProp and Adam beats tuned SGD.

    Args:
        evidence: The results.
        item: As for `curves`; its first metric counts.

    Returns:
        The finding; an optimizer that was not run counts against it.
    """
    section = evidence.section(item.data, item.part)
    if section is None or not set(section.trials["optimizer"]) & set(OTHERS):
        return not_run(item.data)
    measure = partial(speedup, clock=item.clock, metric=item.metrics[0])
    claims = []
    for name in OTHERS:
        if name in set(section.trials["optimizer"]):
            found = mean_ratio(by_seed(section.of(SGD), section.of(name), measure))
            slower = True if found.high < 1 else False if found.low > 1 else None
            claims.append(Claim(f"SGD's time over {name}'s below 1: {found}", slower))
        else:
            claims.append(Claim(f"{name} was run", holds=False))
    return judge(claims, section.setting, section.runs, section.missing)
