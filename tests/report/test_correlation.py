"""Correlations beside the paper's: the tables, the report, the CSV and the figure."""

import re
from collections import Counter

import pandas as pd
import pytest

from kfc_bench.experiments.correlation.observed import conv_layers
from kfc_bench.problems.networks import NETWORKS
from kfc_bench.report.correlation import correlation_tables
from kfc_bench.report.document import render
from kfc_bench.report.export import export_csv
from kfc_bench.report.paper_correlations import PAPER
from kfc_bench.report.summary import tables
from kfc_bench.results.schema import CORRELATION_COLUMNS, CORRELATION_ROW_COLUMNS
from tests.helpers import ENVIRONMENT_NOW, cost_record, results_of

COMMON = {key: cost_record()[key] for key in ("schema", "run_id", "env_id", "device", "status")}
GRID = [[0.0, 0.5, None], [0.5, 1.0, 0.5], [None, 0.5, 0.0]]


def row(quantity, neighbour, pooling, dead=0):
    numbers = {"neighbour": neighbour, "second": 0.02, "mean": 0.004, "cross_mean": None, "cross_p95": None}
    maps = {"spatial": [GRID, GRID], "cross": [[1.0, 0.3], [0.3, 1.0]], "dead": dead}
    return {"layer": "conv1", "pooling": pooling, "quantity": quantity, **numbers, "maps": maps}


def record(network, seed, *rows, **values):
    return {
        **COMMON,
        "case_id": f"{network} {seed}",
        "experiment": "correlation",
        "section": "correlation",
        "problem": "fashion32",
        "network": network,
        "seed": seed,
        "epochs": 3.0,
        "examples": 100,
        "test_error": 0.1,
        "rows": list(rows),
    } | values


RECORDS = [
    record("cifar10", 0, row("derivative", 0.05, "max"), row("activation", 0.8, "max")),
    record("cifar10", 1, row("derivative", 0.07, "max", dead=2), row("activation", 0.9, "max"), test_error=0.2),
    record("cifar10_average", 0, row("derivative", 0.7, "average"), row("activation", 0.9, "average")),
    record("cifar10", 2, status="diverged", reason="the loss of cifar10 is nan", test_error=None),
]


@pytest.fixture
def results(tmp_path):
    return results_of(tmp_path / "results", RECORDS)


def test_layers_are_medians_over_seeds_with_the_paper_s_in_brackets(results):
    derivatives, activations = correlation_tables(results)
    assert derivatives.title.startswith(
        "Absolute correlations of derivatives on fashion32 after 3 epochs "
        "(test error: cifar10 15.0 %, cifar10_average 10.0 %); in brackets the paper's"
    )
    assert derivatives.rows == [
        ["cifar10 conv1 max", "0.060 (0.1)", "0.020 (0.13)", "0.004 (0.031)", "- (0.035)", "- (0.1)", "1"],
        [
            "cifar10_average conv1 average",
            "0.700 (0.74)",
            *("0.020 (0.74)", "0.004 (0.24)", "- (0.132)", "- (0.47)"),
            "0",
        ],
    ]
    assert activations.rows[1] == ["cifar10_average conv1 average", "0.900", "0.020", "0.004", "-", "-", "0"]


def test_without_correlations_there_is_no_table(tmp_path):
    assert correlation_tables(results_of(tmp_path, [cost_record(), RECORDS[-1]])) == []


def test_the_summary_the_report_and_the_csv_hold_them(results, tmp_path):
    titles = {table.title for table in correlation_tables(results)}
    assert titles <= {table.title for table in tables(results)}
    text = render(results, ENVIRONMENT_NOW | {"run_id": "r"}, None)
    assert "## How derivatives and activations correlate" in text
    assert "the loss of cifar10 is nan" in text
    assert export_csv(results, tmp_path) == [tmp_path / "correlation.csv"]
    frame = pd.read_csv(tmp_path / "correlation.csv")
    assert tuple(frame.columns) == (*CORRELATION_COLUMNS, *(name for name in CORRELATION_ROW_COLUMNS if name != "maps"))
    assert frame["neighbour"].count() == 6


def test_the_paper_s_numbers_are_of_layers_that_there_are():
    for (network, layer, quantity, pooling), numbers in PAPER.items():
        poolings = {found.layer.name: found.pooling for found in conv_layers(NETWORKS[network].build())}
        assert poolings[layer] == pooling
        assert quantity in ("derivative", "activation")
        assert all(0 < number < 1 for number in numbers if number is not None)
    assert len(PAPER) == 18


def test_the_figure_draws_every_cell_but_the_faint_ones(results):
    pytest.importorskip("altair")
    from kfc_bench.report.correlation_figure import figure

    text = figure(results)
    assert text.startswith("<svg")
    for title in ("Activations (Fig. 4), fashion32, 3 epochs", "cifar10_average", "conv1, map 2", "conv1, across"):
        assert title in text
    drawn = re.findall(r'h21v21h-21Z" fill="rgb\((\d+), (\d+), (\d+)\)"', text)
    maps = 2 * 2 * 2
    assert len(drawn) == 5 * maps
    assert Counter(drawn) == {("0", "0", "0"): maps, ("128", "128", "128"): 4 * maps}
    assert text.count("h32v32h-32Z") == 3 * 2 * 2
