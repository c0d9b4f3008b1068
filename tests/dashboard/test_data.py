from __future__ import annotations

import json
import math
import warnings

import pandas as pd
import pytest

from kfc_bench.report.names import APPROXIMATIONS
from tests.dashboard.folders import COSTS, TRIALS, cost, trial, write_run

data = pytest.importorskip("kfc_dashboard.data")
looks = pytest.importorskip("kfc_dashboard.looks")
provenance = pytest.importorskip("kfc_dashboard.provenance")


@pytest.fixture(scope="module")
def results(results_folder):
    return data.load([results_folder]).results


@pytest.fixture
def studied(results):
    return data.of_study(results.trials, "digits, network digits, batch 64")


def value(points, **where):
    """The value of the one point that matches."""
    for name, wanted in where.items():
        points = points[points[name] == wanted]
    (found,) = points["value"]
    return found


def test_subjects_and_studies(results):
    assert data.subjects(results.cost) == ["network digits", "layer digits.conv2"]
    assert data.studies(results.trials) == ["digits, network digits, batch 64"]
    assert data.approximations(results) == ["block_diagonal", "diagonal", "exact", "kfc", "sgd"]
    assert data.phases_of(data.of_subject(results.cost, "layer digits.conv2")) == ["accumulate", "refresh"]


def test_cost_points(results):
    points = data.cost_points(data.of_subject(results.cost, "layer digits.conv2"), relative=False)
    assert value(points, approximation="kfc", phase="accumulate", batch=16, measure="time") == 0.0005
    assert value(points, approximation="kfc", phase="accumulate", batch=64, measure="memory") == 2**26
    assert value(points, approximation="exact", measure="memory") == 2**32
    assert math.isnan(value(points, approximation="exact", measure="time"))
    assert math.isnan(value(points, approximation="kfc", phase="refresh", measure="memory"))


def test_relative_points(results):
    points = data.cost_points(data.of_subject(results.cost, "network digits"), relative=True)
    kfc = points[(points["approximation"] == "kfc") & (points["measure"] == "time") & (points["batch"] == 64)].iloc[0]
    assert [kfc["value"], kfc["low"], kfc["high"]] == pytest.approx([2, 2 * 0.9 / 1.1, 2 * 1.1 / 0.9])
    sgd = points[(points["approximation"] == "sgd") & (points["measure"] == "time")]
    assert list(sgd["value"]) == [1, 1]
    assert sgd["low"].isna().all()
    assert set(points.loc[points["measure"] == "memory", "value"]) == {1.0}
    rows = data.of_subject(results.cost, "network digits")
    assert list(data.with_ratio(rows, points)["time_ratio"]) == pytest.approx([1, 1, 2, 2, 4, 4, 8, 8, 16, 16])


def test_relative_points_without_sgd(results):
    steps = data.of_subject(results.cost, "network digits")
    points = data.cost_points(steps[steps["approximation"] != "sgd"], relative=True)
    assert points["value"].isna().all()


def test_curves_are_medians_over_seeds(results, studied):
    summary = data.curves(results.convergence, studied, "test_error")
    assert set(summary["approximation"]) == {"sgd", "kfc", "exact"}
    last = summary[(summary["approximation"] == "sgd") & (summary["step"] == 40)].iloc[0]
    assert [last["value"], last["low"], last["high"]] == pytest.approx([0.05 * 1.2, 0.05 * 1.1, 0.05 * 1.3])
    assert [last["seconds"], last["seeds"]] == pytest.approx([4 * 1.2, 3])


def test_a_line_ends_where_half_of_the_seeds_diverged(tmp_path):
    whole = trial("kfc", "report", 1, None)
    cut = [trial("kfc", "report", seed, None, status="diverged", curve=whole["curve"][:2]) for seed in (2, 3)]
    results = data.load([write_run(tmp_path, [whole, *cut])]).results
    assert list(data.curves(results.convergence, results.trials, "test_error")["step"]) == [0, 10]


def test_target_table(studied):
    table = data.target_table(studied).set_index("approximation")
    assert list(table["reached"][["sgd", "kfc", "exact"]]) == ["3 of 3", "2 of 3", "1 of 3"]
    assert table.loc["kfc", "steps_ratio"] == pytest.approx(2 / 3)
    assert table.loc["kfc", "on_edge"]
    assert math.isnan(table.loc["exact", "seconds_to_target"])
    assert math.isnan(table.loc["exact", "seconds_ratio"])


def test_tuning(studied):
    tuning = data.tuning_table(studied)
    assert [(row["optimizer"], row["best"]) for _, row in tuning.iterrows()] == [
        *(("kfc", best) for best in (True, False, False)),
        *(("sgd", best) for best in (True, False)),
    ]
    counts = data.tuning_summary(tuning).set_index("optimizer")
    assert list(counts.loc["kfc", ["trials", "reached", "failed", "steps_to_target"]]) == [3, 2, 1, 30]


def test_another_batch_or_schedule_is_another_trial(studied):
    sgd = studied[(studied["optimizer"] == "sgd") & (studied["role"] == "tuning")]
    best = data.tuning_table(studied).query("optimizer == 'sgd' and best").iloc[0]
    twin = sgd[sgd["case_id"] == best["case_id"]]
    others = [twin.assign(case_id="b", batch=7), twin.assign(case_id="s", schedule="linear")]
    again = data.tuning_table(pd.concat([studied, *others], ignore_index=True))
    assert list(again.query("optimizer == 'sgd' and best")["case_id"]) == [best["case_id"]]


def test_failures_are_named(results):
    failed = provenance.failures(results)
    assert list(failed["case"]) == ["digits.conv2 kfc refresh batch 16", "digits kfc tuning lr 0.9 batch 64"]
    assert list(failed["status"]) == ["wrong", "diverged"]


def test_runs_are_kept_apart(tmp_path):
    write_run(tmp_path / "a", COSTS)
    write_run(tmp_path / "b", TRIALS, device="another")
    results = data.load([tmp_path]).results
    first, second = data.run_ids(results)
    assert first > second
    devices = {
        run_id: [one["device"] for one in data.of_run(results, run_id).environments.values()]
        for run_id in (first, second)
    }
    assert sorted(devices.values()) == [["Test [CPU], 2 threads"], ["another"]]


def test_a_damaged_value_is_a_missing_one():
    frame = data.tidy(pd.DataFrame({"batch": [64, "many", None], "approximation": ["kfc", ["a"], None]}))
    assert frame["batch"].dtype == "float64"
    assert list(frame["batch"].isna()) == [False, True, True]
    assert list(frame["approximation"])[:2] == ["kfc", "['a']"]


def test_a_torn_line_is_a_note(tmp_path):
    root = write_run(tmp_path)
    (journal,) = root.glob("*/journal.jsonl")
    with journal.open("a") as file:
        file.write('{"schema":1')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = data.load([root])
    assert len(loaded.results.cost) == len(COSTS)
    assert "torn" in loaded.notes[0]


def test_an_environment_that_lacks_its_name(tmp_path):
    root = write_run(tmp_path)
    (path,) = root.glob("*/environment.json")
    path.write_text(json.dumps({"schema": 1}))
    assert "damaged" in data.load([root]).problem


def test_a_name_keeps_its_colour():
    every = looks.looks(["sgd", "kfc", "exact", "one", "other"])
    assert looks.looks(["kfc"])["kfc"] == every["kfc"]
    assert list(every) == ["sgd", "kfc", "exact", "one", "other"]
    assert len({look.colour for look in every.values()}) == 5


def test_every_approximation_has_a_look_of_its_own():
    assert list(looks.COLOURS) == ["sgd", *APPROXIMATIONS]
    drawn = looks.looks(looks.COLOURS).values()
    for part in ("label", "colour", "shape"):
        assert len({getattr(look, part) for look in drawn}) == len(APPROXIMATIONS) + 1
    assert not {look.colour for look in drawn} & set(looks.SPARE_COLOURS)


@pytest.mark.parametrize(
    ("kind", "badge"), [("cpu", ":orange-badge[CPU, no GPU]"), ("cuda", ":green-badge[GPU]"), (None, "device unknown")]
)
def test_provenance(kind, badge):
    line = provenance.provenance(
        {"device": "A [b](c)", "device_kind": kind, "torch": "2.13", "commit": "0123456789"}, "run-1"
    )
    assert badge in line
    assert r"A \[b\]\(c\)" in line
    assert "commit 01234567 · " in line


def test_cost_is_a_record():
    assert cost("kfc", "step", 64)["network"] == "digits"
