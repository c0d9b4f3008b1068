"""How derivatives and activations correlate, beside what the paper's Figs. 3 and 4 show."""

from __future__ import annotations

import math

from kfc_bench.report.paper_correlations import PAPER
from kfc_bench.report.tables import TextTable, device_badge
from kfc_bench.results.frames import Results

MEASURES = {
    "neighbour": "neighbours",
    "second": "at offset 2",
    "mean": "all up to 6",
    "cross_mean": "across maps",
    "cross_p95": "95th percentile",
}
CASE = ["problem", "epochs"]
ROW = ["network", "layer", "quantity", "pooling"]


def correlation_tables(results: Results) -> list[TextTable]:
    """Show every layer's correlations, and the paper's in brackets.

    Args:
        results: What was measured.

    Returns:
        A table per data set and length of training; medians over seeds.
    """
    rows = results.correlation[results.correlation["layer"].notna()]
    tables = []
    for (problem, epochs), own in rows.groupby(CASE, sort=False):
        lines = [
            [
                str(network),
                str(layer),
                str(pooling),
                str(quantity),
                *(
                    _beside(group[name].astype(float).median(), getattr(paper, name, None))
                    for paper in [PAPER.get((network, layer, quantity, pooling))]
                    for name in MEASURES
                ),
                f"{group['maps'].map(lambda maps: maps['dead']).median():g}",
                f"{100 * group['test_error'].astype(float).median():.1f} %",
            ]
            for (network, layer, quantity, pooling), group in own.groupby(ROW, sort=False)
        ]
        tables.append(
            TextTable(
                f"Absolute correlations on {problem} after {epochs:g} epochs; in brackets the paper's, on CIFAR-10 and "
                f"SVHN after 50 ({device_badge(results)})",
                ["network", "layer", "pooling", "of", *MEASURES.values(), "dead maps", "test error"],
                lines,
            )
        )
    return tables


def _beside(own: float, paper: float | None) -> str:
    found = "-" if math.isnan(own) else f"{own:.3f}"
    return found if paper is None else f"{found} ({paper:g})"
