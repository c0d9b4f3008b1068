"""Rules on Figs. 3 and 4: how much derivatives and activations correlate, layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from kfc_bench.report.paper.evidence import STAND_IN, Evidence, newest
from kfc_bench.report.paper.reference import Item
from kfc_bench.report.paper.rules.speed import not_run
from kfc_bench.report.paper.verdicts import Claim, Finding, judge
from kfc_bench.report.units import three

AVERAGE = "_average"
PAPERS = ("cifar10", "svhn")
NETWORKS = (*PAPERS, *(name + AVERAGE for name in PAPERS))
Layers = Callable[[pd.DataFrame], list[tuple[str, float, float]]]
"""Takes medians by ``average``, ``quantity`` and ``layer``; returns each layer, and what should be less than what."""


def _beside(
    metric: str, *, rows: pd.DataFrame, less: tuple[bool, str], more: tuple[bool, str]
) -> list[tuple[str, float, float]]:
    sides = {"less": _of(rows, *less)[metric], "more": _of(rows, *more)[metric]}
    joined = pd.concat(sides, axis=1, join="inner").astype(float)
    return list(zip(joined.index.astype(str), joined["less"], joined["more"], strict=True))


def _of(rows: pd.DataFrame, average: bool, quantity: str) -> pd.DataFrame:
    own = rows[(rows["average"] == average) & (rows["quantity"] == quantity)]
    return own.set_index("layer")


def _derivatives_beside_activations(metric: str) -> Layers:
    return lambda rows: _beside(metric, rows=rows, less=(False, "derivative"), more=(False, "activation"))


def _max_beside_average(metric: str) -> Layers:
    def layers(rows: pd.DataFrame) -> list[tuple[str, float, float]]:
        own, other = (_of(rows, average, "derivative")["pooling"] for average in (False, True))
        found = _beside(metric, rows=rows, less=(False, "derivative"), more=(True, "derivative"))
        return [entry for entry in found if own[entry[0]] != other[entry[0]]]

    return layers


def _fading(rows: pd.DataFrame) -> list[tuple[str, float, float]]:
    own = _of(rows, False, "activation")
    names = own.index.astype(str)
    near = zip(names + ", offset 2 and 1", own["second"], own["neighbour"], strict=True)
    far = zip(names + ", all offsets and 2", own["mean"], own["second"], strict=True)
    return [*near, *far]


def _rule(layers: Layers, words: str) -> Callable[[Evidence, Item], Finding]:
    def rule(evidence: Evidence, _item: Item) -> Finding:
        everything = evidence.results.correlation.query("status == 'ok' and network in @NETWORKS")
        here = [name for name in PAPERS if name in set(everything["problem"])]
        stands_in = everything["problem"].astype(str).str.startswith(STAND_IN)
        sets = [everything[everything["problem"] == name] for name in here] or [everything[stands_in]]
        if not len(sets[0]):
            return not_run(*PAPERS)
        claims, runs, settings = [], [], []
        for rows in map(_most_trained, sets):
            claims += [Claim(f"{name}: {three(a)} < {three(b)}", bool(a < b)) for name, a, b in layers(_medians(rows))]
            runs += list(rows["run_id"].unique())
            settings.append(_setting(rows, evidence.device(rows)))
        missing = [name for name in PAPERS if name not in here]
        worded = [Claim(f"{words}, {claim.words}", claim.holds) for claim in claims]
        return judge(worded, "; ".join(settings), runs, missing, instead=not here)

    return rule


def _most_trained(rows: pd.DataFrame) -> pd.DataFrame:
    own = newest(rows)
    return own[own["epochs"] == own["epochs"].max()]


def _setting(rows: pd.DataFrame, device: str) -> str:
    networks = ", ".join(rows["network"].unique())
    how = f"after {rows['epochs'].max():g} epochs, {rows['seed'].nunique()} seeds"
    return f"{rows['problem'].iloc[0]}, {networks} {how}; {device}"


def _medians(rows: pd.DataFrame) -> pd.DataFrame:
    key = ["average", "quantity", "layer"]
    named = rows.assign(average=rows["network"].astype(str).str.endswith(AVERAGE)).dropna(subset=["layer"])
    numbers = ["neighbour", "second", "mean", "cross_mean", "cross_p95"]
    columns = {**dict.fromkeys(numbers, "median"), "pooling": "first"}
    return named.astype(dict.fromkeys(numbers, float)).groupby(key, as_index=False).agg(columns)


CORRELATION_RULES = {
    "derivatives_space": _rule(_derivatives_beside_activations("neighbour"), "neighbours, derivatives and activations"),
    "derivatives_maps": _rule(_derivatives_beside_activations("cross_mean"), "maps, derivatives and activations"),
    "average_space": _rule(_max_beside_average("neighbour"), "neighbours' derivatives, max and average pooling"),
    "average_maps": _rule(_max_beside_average("cross_mean"), "maps' derivatives, max and average pooling"),
    "activations_space": _rule(_fading, "activations"),
    "activations_maps": _rule(_derivatives_beside_activations("cross_p95"), "maps, 95th percentile"),
}
