"""How derivatives and activations correlate, beside what the paper's Figs. 3 and 4 show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from kfc_bench.report.paper_correlations import PAPER, PaperCorrelation
from kfc_bench.report.tables import TextTable, device_badge
from kfc_bench.results.frames import Results

MEASURES = {
    "neighbour": "neighbours",
    "second": "at offset 2",
    "mean": "all up to 6",
    "cross_mean": "across maps",
    "cross_p95": "across, 95th percentile",
}
TABLE = ["problem", "epochs", "quantity"]
ROW = ["network", "layer", "pooling"]


def correlation_tables(results: Results) -> list[TextTable]:
    """Show every layer's correlations, and the paper's in brackets.

    Args:
        results: What was measured.

    Returns:
        A table per data set, length of training and quantity; medians over seeds.
    """
    rows = results.correlation[results.correlation["layer"].notna()]
    return [
        TextTable(
            f"Absolute correlations of {quantity}s on {problem} after {epochs:g} epochs (test error: {_errors(own)}); "
            f"in brackets the paper's, on CIFAR-10 and SVHN ({device_badge(results)})",
            ["layer and pooling", *MEASURES.values(), "dead maps"],
            [
                _line(f"{network} {layer} {pooling}", PAPER.get((network, layer, str(quantity), pooling)), group)
                for (network, layer, pooling), group in _groups(own, ROW)
            ],
        )
        for (problem, epochs, quantity), own in _groups(rows, TABLE)
    ]


def _groups(rows: pd.DataFrame, keys: list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    return iter(rows.groupby(keys, sort=False))


def _errors(rows: pd.DataFrame) -> str:
    medians = rows.astype({"test_error": float}).groupby("network", sort=False)["test_error"].median()
    return ", ".join(f"{network} {100 * error:.1f} %" for network, error in medians.items())


def _line(title: str, paper: PaperCorrelation | None, group: pd.DataFrame) -> list[str]:
    medians = {name: float(pd.to_numeric(group[name]).median()) for name in MEASURES}
    dead = group["maps"].map(lambda maps: maps["dead"]).median()
    return [title, *(_beside(value, getattr(paper, name, None)) for name, value in medians.items()), f"{dead:g}"]


def _beside(own: float, paper: float | None) -> str:
    found = "-" if math.isnan(own) else f"{own:.3f}"
    return found if paper is None else f"{found} ({paper:g})"
