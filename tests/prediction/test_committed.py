"""The committed table of held-out steps against the committed records that it comes from."""

import pandas as pd
import pytest

from kfc_bench.experiments.profile.layers import modules
from kfc_bench.prediction.held_out import COLUMNS, HELD_OUT_FILE, MEMORY_TARGET, TIME_TARGET, lies_last, past_error
from kfc_bench.prediction.measured import Measured
from kfc_bench.prediction.model import read_models
from kfc_bench.prediction.predict import Question, predict
from kfc_bench.prediction.replay import Step
from kfc_bench.prediction.samples import measured_steps
from kfc_bench.problems.networks import NETWORKS
from kfc_bench.resources import share
from kfc_bench.results.frames import load_results

RESULTS = share("results")
TABLES = sorted(RESULTS.rglob(HELD_OUT_FILE))
DIGITS = 1e-5
"""Relative rounding of the table."""


@pytest.fixture(scope="module")
def rows():
    return pd.concat(map(pd.read_csv, TABLES), ignore_index=True)


@pytest.fixture(scope="module")
def results():
    return load_results([RESULTS])


def clip(row):
    return float(row["clip"]) if pd.to_numeric(row["clip"]) > 0 else 0.0


def key(row):
    return row["network"], int(row["batch"]), row["approximation"], clip(row)


def test_measured_columns_are_the_records(rows, results):
    steps = measured_steps(results).to_dict("records")
    measured = {(key(row), f"{row['step_s']:.6g}", f"{row['peak_memory_bytes']:.6g}") for row in steps}
    for row in rows.to_dict("records"):
        assert (key(row), f"{row['measured_s']:.6g}", f"{row['measured_bytes']:.6g}") in measured


def test_errors_follow_from_the_columns(rows):
    assert list(rows) == list(COLUMNS)
    for what, unit in (("time", "s"), ("memory", "bytes")):
        error = rows[f"predicted_{unit}"] / rows[f"measured_{unit}"] - 1
        assert rows[f"{what}_error"].tolist() == pytest.approx(error.tolist(), abs=10 * DIGITS)


def test_held_out_networks_were_not_fitted_to(rows):
    for model in read_models(RESULTS).values():
        assert not set(model.errors) & set(rows.loc[rows["device"] == model.device, "network"])


def test_predictions_are_those_of_the_committed_rates(rows, results):
    models = read_models(RESULTS)
    smallest = rows[rows["approximation"] == "sgd"].sort_values("measured_s").head(2)
    for row in smallest.to_dict("records"):
        model, entry = models[row["device"]], NETWORKS[row["network"]]
        held = frozenset(rows["network"])
        step = Step("sgd", row["batch"], channels_last=lies_last(model, entry.input_shape))
        question = Question(row["network"], entry, modules(entry), 1, 1, None)
        found = predict(question, step, model, Measured(results, row["device"], held))
        assert found.seconds == pytest.approx(row["predicted_s"], rel=0.02)
        assert found.step_bytes == pytest.approx(row["predicted_bytes"], rel=0.01)


def test_whether_the_targets_are_met_is_said(rows):
    assert len(rows) >= 20
    assert rows[["time_error", "memory_error"]].notna().all(axis=None)
    said = past_error(rows)
    for column, target in (("time_error", TIME_TARGET), ("memory_error", MEMORY_TARGET)):
        word = "meets" if rows[column].abs().median() <= target else "misses"
        assert f"({word} the target of {100 * target:.0f} %)" in said
