import pandas as pd
import pytest

from kfc_bench.report.document import render
from kfc_bench.report.export import export_csv
from kfc_bench.report.inverses import family_table, refresh_table
from kfc_bench.report.tables import health_line
from kfc_bench.results.schema import INVERSE_COLUMNS
from tests.helpers import ENVIRONMENT_NOW, cost_record, results_of

COMMON = {key: cost_record()[key] for key in ("schema", "run_id", "env_id")}


def inverse_record(implementation, start=None, **values):
    record = {
        **COMMON,
        "case_id": f"{implementation} {start} {values}",
        "experiment": "inverse",
        "section": "inverses",
        "device": "cpu",
        "source": "family",
        "family": "psd",
        "size": 64,
        "condition": 1e3,
        "dtype": "float32",
        "implementation": implementation,
        "start": start,
        "status": "ok",
        "residual": 1e-5,
        "rel_error": 1e-5,
        "iterations": 15 if start else None,
        "raised": 0,
        "time_median_s": 2e-4,
    }
    return record | values


def trained(implementation, start=None, **values):
    place = {"source": "training", "family": None, "network": "digits", "layer": "fc", "factor": "input_factor"}
    return inverse_record(implementation, start, **place, damping=0.01, **values)


RECORDS = [
    inverse_record("cholesky"),
    inverse_record("newton", "cold", residual=3e-5, raised=1, time_median_s=1e-3),
    inverse_record("newton", "cold", family="dense", residual=5e-5, iterations=17, time_median_s=3e-3),
    *(trained("newton", "warm", step=step, iterations=step + 2, residual=step * 1e-6) for step in (1, 2, 3)),
    trained("newton", "cold", step=1),
    inverse_record("eigendecomposition", status="crashed", reason="no memory left"),
]


@pytest.fixture
def results(tmp_path):
    return results_of(tmp_path / "results", RECORDS)


def test_families_are_medians_by_size_and_condition(results):
    table = family_table(results)
    assert "2 families" in table.title
    (row,) = table.rows
    assert dict(zip(table.header, row, strict=True)) == {
        "size": "64",
        "condition": "1e3",
        "residual, cholesky": "1.0e-5",
        "residual, newton, cold": "4.0e-5",
        "iterations": "16",
        "more damping": "newton 1",
        "time, cholesky": "200 us",
        "time, newton, cold": "2 ms",
    }


def test_a_training_is_medians_over_refreshes_and_the_worst_residual(results):
    table = refresh_table(results)
    (row,) = table.rows
    found = dict(zip(table.header, row, strict=True))
    assert (found["factor"], found["size"], found["damping"]) == ("fc, input_factor", "64", "0.01")
    assert (found["iterations, newton, warm"], found["iterations, newton, cold"]) == ("4", "15")
    assert found["worst residual, newton, warm"] == "3.0e-6"


def test_without_inverses_there_is_no_table(tmp_path):
    results = results_of(tmp_path, [cost_record()])
    assert family_table(results) is None
    assert refresh_table(results) is None


def test_the_report_and_the_csv_hold_them(results, tmp_path):
    text = render(results, ENVIRONMENT_NOW | {"run_id": "r"}, None)
    assert "## Damped inverses" in text
    assert "no memory left" in text
    assert health_line(results) == "7 ok, 1 crashed"
    assert export_csv(results, tmp_path) == [tmp_path / "inverses.csv"]
    assert tuple(pd.read_csv(tmp_path / "inverses.csv").columns) == INVERSE_COLUMNS


def test_the_figure_draws_every_method(results):
    pytest.importorskip("altair")
    from kfc_bench.report.inverse_figure import figure

    text = figure(results)
    assert text.startswith("<svg")
    for method in ("cholesky", "newton, warm", "newton, cold"):
        assert method in text
