"""Rules on batch sizes (footnote 3) and batch normalisation (Fig. 5): trials beside trials, metric by metric."""

from __future__ import annotations

from functools import partial

import pandas as pd

from kfc_bench.report.outcomes import SGD
from kfc_bench.report.paper.evidence import Evidence, Section
from kfc_bench.report.paper.pairing import by_seed, mean_difference, mean_ratio, speedup
from kfc_bench.report.paper.reference import Item
from kfc_bench.report.paper.rules.speed import KFC_PRE, claim, ended, no_worse, not_run
from kfc_bench.report.paper.verdicts import Claim, Finding, judge

SMALL, LARGE = 128, 512
BN = "_bn"


def batches(evidence: Evidence, item: Item) -> Finding:
    """Judge footnote 3: the small batch generalises better and fits the training set worse.

    Args:
        evidence: The results.
        item: With its data and part.

    Returns:
        The finding.
    """
    section = evidence.section(item.data, item.part)
    if section is None:
        return not_run(item.data)
    small, large = (section.of(KFC_PRE, batch=size) for size in (SMALL, LARGE))
    best = mean_difference(by_seed(small, large, _best_difference))
    last = mean_difference(by_seed(small, large, _last_difference))
    claims = [
        claim(best, f"best test error, batch {SMALL} less {LARGE}, below 0:", best.high < 0),
        claim(last, f"last training error, batch {SMALL} less {LARGE}, above 0:", last.low > 0),
    ]
    return judge(claims, section.setting, section.runs, section.missing)


def _best_difference(first: pd.DataFrame, second: pd.DataFrame) -> float:
    return float(first["test_error"].min() - second["test_error"].min())


def _last_difference(first: pd.DataFrame, second: pd.DataFrame) -> float:
    return float(first["train_error"].iloc[-1] - second["train_error"].iloc[-1])


def _nets(section: Section, optimizer: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return an optimizer's curves on the plain network and on the one with batch normalisation."""
    own = section.of(optimizer)
    normalised = own["network"].str.endswith(BN)
    return own[~normalised], own[normalised]


def _faster(section: Section, metric: str) -> list[Claim]:
    measure = partial(speedup, clock="seconds", metric=metric)
    nets = zip(("without", "with"), _nets(section, SGD), _nets(section, KFC_PRE), strict=True)
    claims = [ended(section)]
    for words, sgd, kfc_pre in nets:
        found = mean_ratio(by_seed(sgd, kfc_pre, measure))
        what = f"{metric.replace('_', ' ')} {words} BN, SGD's time over KFC-pre's, above 1:"
        claims += [claim(found, what, found.low > 1), no_worse(sgd, kfc_pre, metric, f" {words} BN")]
    return claims


def batch_norm_error(evidence: Evidence, item: Item) -> Finding:
    """Judge the error rates of Fig. 5.

    Args:
        evidence: The results.
        item: With its data and part.

    Returns:
        The finding.
    """
    section = evidence.section(item.data, item.part)
    if section is None:
        return not_run(item.data)
    claims = _faster(section, "train_error")
    for name in (SGD, KFC_PRE):
        plain, normalised = _nets(section, name)
        found = mean_difference(by_seed(normalised, plain, _best_difference))
        claims.append(claim(found, f"best test error of {name}, with BN less without, below 0:", found.high < 0))
    return judge(claims, section.setting, section.runs, section.missing)


def batch_norm_loss(evidence: Evidence, item: Item) -> Finding:
    """Judge the log-likelihoods of Fig. 5.

    Args:
        evidence: The results.
        item: With its data and part.

    Returns:
        The finding.
    """
    section = evidence.section(item.data, item.part)
    if section is None:
        return not_run(item.data)
    plain, normalised = _nets(section, SGD)
    measure = partial(speedup, clock="seconds", metric="train_loss")
    found = mean_ratio(by_seed(plain, normalised, measure))
    slower = claim(found, "train loss of SGD, time without BN over time with it, below 1:", found.high < 1)
    return judge([*_faster(section, "train_loss"), slower], section.setting, section.runs, section.missing)
