import pandas as pd
import pytest

from kfc_bench.report.document import render
from kfc_bench.report.export import export_csv
from kfc_bench.report.fidelity import fidelity_tables
from kfc_bench.results.schema import FIDELITY_COLUMNS, FIDELITY_ROW_COLUMNS
from tests.helpers import ENVIRONMENT_NOW, cost_record, results_of

COMMON = {key: cost_record()[key] for key in ("schema", "run_id", "env_id")}


def row(approximation, layer, error, source="type2", **values):
    return {
        "layer": layer,
        "approximation": approximation,
        "source": source,
        "frobenius": error,
        "trace_ratio": 1.0,
        "stein": 2.5,
        "kl": 1.25,
        "indefinite": 0,
        "cosine": 0.5,
        "model_decrease": 1 - error,
        "loss_decrease": 0.75,
        "note": "",
        **values,
    }


NO_STEP = dict.fromkeys(("stein", "kl", "cosine", "model_decrease", "loss_decrease")) | {"indefinite": 3}


def record(network, epoch, seed, error, **values):
    rows = [
        *(row("kfc", layer, error) for layer in ("conv1", "fc", None)),
        *(row("kfc", layer, 2 * error, "mc") for layer in ("conv1", "fc", None)),
        *(row("iad_sh", layer, error / 2, **own) for layer, own in (("conv1", NO_STEP), ("fc", {}), (None, NO_STEP))),
        row("exact", None, 1e-17),
    ]
    return {
        **COMMON,
        "case_id": f"{network} {epoch} {seed} {values}",
        "experiment": "fidelity",
        "section": "fidelity",
        "device": "cpu",
        "network": network,
        "seed": seed,
        "epoch": epoch,
        "damping": 0.01,
        "status": "ok",
        "rows": rows,
        **values,
    }


RECORDS = [
    record("digits", 0.0, 0, 0.4),
    record("digits", 5.0, 0, 0.2),
    record("digits", 5.0, 1, 0.3),
    record("fashion_small", 0.5, 0, 0.1),
    record("digits", 5.0, 2, 0.9, damping=0.1),
    record("fashion_small", 3.0, 0, 0.1, status="unsupported", reason="no data there", rows=[]),
]


@pytest.fixture
def results(tmp_path):
    return results_of(tmp_path / "results", RECORDS)


def test_metrics_are_medians_of_the_most_trained_networks(results):
    table = fidelity_tables(results)[1]
    assert "digits after 5 epochs, fashion_small after 0.5 epochs" in table.title
    assert "damping 0.01" in table.title
    found = {line[0]: dict(zip(table.header, line, strict=True)) for line in table.rows}
    assert list(found) == ["exact", "iad_sh", "kfc", "kfc (mc)"]
    assert found["kfc"] == {
        "approximation": "kfc",
        "error, layers": "0.2",
        "error, network": "0.2",
        "trace": "1",
        "Stein": "2.5",
        "KL": "1.25",
        "cosine": "0.5",
        "model decrease": "0.8",
        "loss decrease": "0.75",
        "indefinite layers": "-",
    }
    assert found["exact"]["error, layers"] == "-"
    assert found["exact"]["error, network"] == "0"


def test_what_some_case_lacks_has_no_median(results):
    table = fidelity_tables(results)[1]
    (line,) = [line for line in table.rows if line[0] == "iad_sh"]
    found = dict(zip(table.header, line, strict=True))
    assert found["indefinite layers"] == "3 of 6"
    assert found["KL"] == found["model decrease"] == "-"
    assert found["error, network"] == "0.1"


def test_of_another_scale_only_the_step_compares(tmp_path):
    errors = {"prong": 0.1, "kfc": 0.4}
    rows = [row(name, layer, error) for name, error in errors.items() for layer in ("conv1", None)]
    course, table, _ = fidelity_tables(results_of(tmp_path, [record("digits", 5.0, 0, 0.4) | {"rows": rows}]))
    assert [line[0] for line in table.rows] == ["kfc", "prong"], "what has no error comes last"
    found = dict(zip(table.header, table.rows[1], strict=True))
    assert {name for name, value in found.items() if value == "-"} == {
        "error, layers",
        "error, network",
        "trace",
        "Stein",
        "KL",
        "indefinite layers",
    }
    assert dict(zip(course.header, course.rows[0], strict=True))["prong"] == "-"


def test_training_is_a_row_per_network_and_epoch(results):
    errors, _, decreases, *others = fidelity_tables(results)
    assert errors.header == decreases.header == ["network", "epoch", "kfc"]
    assert errors.rows == [["digits", "0", "0.4"], ["digits", "5", "0.3"], ["fashion_small", "0.5", "0.1"]]
    assert decreases.rows == [["digits", "0", "0.6"], ["digits", "5", "0.75"], ["fashion_small", "0.5", "0.9"]]
    assert [table.title.count("damping 0.1 ") for table in others] == [1, 1]


def test_without_fidelity_there_is_no_table(tmp_path):
    assert fidelity_tables(results_of(tmp_path, [cost_record()])) == []


def test_the_report_and_the_csv_hold_it(results, tmp_path):
    text = render(results, ENVIRONMENT_NOW | {"run_id": "r"}, None)
    assert "## How close each approximation is to the exact Fisher" in text
    assert "no data there" in text
    assert export_csv(results, tmp_path) == [tmp_path / "fidelity.csv"]
    written = pd.read_csv(tmp_path / "fidelity.csv")
    assert tuple(written.columns) == (*FIDELITY_COLUMNS, *FIDELITY_ROW_COLUMNS)
    assert len(written) == 5 * 10 + 1
