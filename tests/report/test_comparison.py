"""Ratios against hand-computed ones, from hand-made records."""

import math

import pytest

from kfc_bench.report.comparison import COMPARISON_COLUMNS, comparison, step_costs, times_to_target
from tests.helpers import results_of, step_record, trial_record

SGD = step_record("sgd", (2e-3, 1e-3, 4e-3))
KFC = step_record("kfc", (6e-3, 5e-3, 8e-3))


def compared(tmp_path, records):
    results = results_of(tmp_path, records)
    frame = comparison(results.cost, results.trials)
    assert list(frame.columns) == COMPARISON_COLUMNS
    return frame.set_index("approximation")


def test_a_step_s_ratio_and_the_division_of_intervals(tmp_path):
    row = compared(tmp_path, [SGD, KFC]).loc["kfc"]
    assert row["step_s"] == 6e-3
    assert row["step_ratio"] == pytest.approx(3)
    assert row["step_ratio_low"] == pytest.approx(5 / 4)
    assert row["step_ratio_high"] == pytest.approx(8)
    assert row["sgd_implementation"] == "auto"


def test_a_step_without_sgd_beside_it_has_no_ratio(tmp_path):
    other = step_record("sgd", (1e-3, 1e-3, 1e-3), batch=128)
    failed = {**SGD, "status": "oom"}
    row = compared(tmp_path, [other, failed, KFC]).loc["kfc"]
    assert row["step_s"] == 6e-3
    assert math.isnan(row["step_ratio"])


def test_only_steps_that_ran_count(tmp_path):
    crashed = step_record("diagonal", (1.0, 1.0, 1.0), status="wrong")
    phase = {**step_record("diagonal", (1.0, 1.0, 1.0)), "phase": "refresh", "case_id": "refresh"}
    assert list(step_costs(results_of(tmp_path, [SGD, KFC, crashed, phase]).cost)["approximation"]) == ["sgd", "kfc"]


def test_the_fastest_sgd_is_the_baseline(tmp_path):
    slow = step_record("sgd", (9e-3, 8e-3, 9e-3)) | {"implementation": "reference", "case_id": "slow"}
    frame = step_costs(results_of(tmp_path, [slow, SGD, KFC]).cost)
    kfc = frame[frame["approximation"] == "kfc"]
    assert list(kfc["step_ratio"]) == [pytest.approx(3)]
    assert list(kfc["sgd_implementation"]) == ["auto"]


def test_medians_over_seeds_and_their_ratios(tmp_path):
    records = [
        *(trial_record("sgd", seed, steps, steps / 10) for seed, steps in enumerate([20, 40, 30])),
        *(trial_record("kfc", seed, steps, steps / 2) for seed, steps in enumerate([5, 9, 6])),
    ]
    frame = compared(tmp_path, records)
    assert list(frame["steps_to_target"]) == [30, 6]
    assert list(frame["seconds_to_target"]) == [3, 3]
    assert list(frame["steps_ratio"]) == [1, pytest.approx(0.2)]
    assert list(frame["seconds_ratio"]) == [1, 1]
    assert list(frame["seeds"]) == list(frame["seeds_reached"]) == [3, 3]


@pytest.mark.parametrize(
    ("steps", "median", "reached"),
    [
        ([10, 20, None], 20, 2),
        ([10, None, None], math.inf, 1),
        ([None, None, None], math.inf, 0),
        ([10, 20], 15, 2),
        ([10, None], math.inf, 1),
    ],
)
def test_seeds_that_never_arrive_count_as_infinite(tmp_path, steps, median, reached):
    records = [trial_record("sgd", seed, 10, 1.0) for seed in range(3)]
    records += [trial_record("kfc", seed, value, value) for seed, value in enumerate(steps)]
    row = compared(tmp_path, records).loc["kfc"]
    assert (row["steps_to_target"], row["seconds_to_target"]) == (median, median)
    assert row["steps_ratio"] == median / 10
    assert (row["seeds"], row["seeds_reached"]) == (len(steps), reached)


def test_a_seed_that_diverged_after_the_target_did_not_arrive(tmp_path):
    records = [trial_record("kfc", seed, 10, 1.0, status="diverged") for seed in (1, 2)]
    row = compared(tmp_path, records).loc["kfc"]
    assert row["seeds_reached"] == 0
    assert math.isinf(row["steps_to_target"])
    assert math.isnan(row["final_test_error"])


def test_a_target_that_neither_reaches_has_no_ratio(tmp_path):
    records = [trial_record(name, 1, None, None) for name in ("sgd", "kfc")]
    assert compared(tmp_path, records)["steps_ratio"].isna().all()


def test_a_target_that_sgd_alone_misses_has_no_ratio(tmp_path):
    records = [trial_record("sgd", 1, None, None), trial_record("kfc", 1, 10, 1.0)]
    row = compared(tmp_path, records).loc["kfc"]
    assert row["steps_to_target"] == 10
    assert math.isnan(row["steps_ratio"])


def test_an_optimizer_without_sgd_beside_it_has_no_ratio(tmp_path):
    row = compared(tmp_path, [trial_record("kfc", 1, 10, 1.0)]).loc["kfc"]
    assert row["steps_to_target"] == 10
    assert math.isnan(row["steps_ratio"])


def test_sgd_is_the_baseline_whatever_the_batches(tmp_path):
    records = [trial_record("sgd", 1, 30, 3.0, batch=64), trial_record("kfc", 1, 6, 1.5, batch=256, schedule="cosine")]
    row = compared(tmp_path, records).loc["kfc"]
    assert (row["batch"], row["schedule"]) == (256, "cosine")
    assert (row["steps_ratio"], row["seconds_ratio"]) == (pytest.approx(0.2), 0.5)


def test_each_section_has_its_own_sgd(tmp_path):
    long = {"section": "long", "batch": 64}
    records = [trial_record("sgd", 1, 30, 3.0), trial_record("kfc", 1, 6, 1.5)]
    records += [trial_record("sgd", 2, 10, 2.0, **long), trial_record("kfc", 2, 10, 4.0, **long), KFC]
    frame = compared(tmp_path, records).loc["kfc"].set_index("section")
    assert dict(frame["seconds_ratio"]) == {"convergence": 0.5, "long": 2.0}
    assert list(frame["step_s"]) == [6e-3, 6e-3]


def test_trials_that_clip_meet_steps_that_do(tmp_path):
    clipped = step_record("kfc", (9e-3, 9e-3, 9e-3), clip=0.3) | {"case_id": "clipped"}
    frame = compared(tmp_path, [KFC, clipped, trial_record("kfc", 1, 6, 1.5, clip=0.3)])
    assert list(zip(frame["step_s"], frame["steps_to_target"].fillna(-1), strict=True)) == [(6e-3, -1), (9e-3, 6)]


def test_trials_of_an_earlier_target_are_left_out(tmp_path):
    records = [
        trial_record("kfc", seed, steps, 1.0, target_metric="error", target_value=target, case_id=f"{target} {seed}")
        for target, steps in ((0.05, 5), (0.03, 9))
        for seed in (1, 2)
    ]
    row = compared(tmp_path, records).loc["kfc"]
    assert (row["seeds"], row["steps_to_target"]) == (2, 9)


def test_seeds_that_diverged_are_counted(tmp_path):
    records = [trial_record("kfc", 1, 6, 1.5), trial_record("kfc", 2, None, None, status="diverged")]
    assert compared(tmp_path, records).loc["kfc", "seeds_diverged"] == 1


def test_tuning_trials_report_nothing(tmp_path):
    trials = results_of(tmp_path, [trial_record("kfc", 1, 10, 1.0, role="tuning")]).trials
    assert times_to_target(trials).empty


def test_cost_and_convergence_meet_in_one_row(tmp_path):
    records = [SGD, KFC, trial_record("sgd", 1, 30, 3.0), trial_record("kfc", 1, 6, 1.5)]
    records.append(step_record("exact", (1.0, 1.0, 1.0), batch=16))
    frame = compared(tmp_path, records).reset_index()
    assert list(zip(frame["batch"], frame["approximation"], strict=True)) == [(16, "exact"), (64, "sgd"), (64, "kfc")]
    assert list(frame["steps_ratio"].fillna(-1)) == [-1, 1, pytest.approx(0.2)]
    assert list(frame["step_ratio"].fillna(-1)) == [-1, 1, pytest.approx(3)]


def test_nothing_compares_to_nothing(tmp_path):
    assert compared(tmp_path, []).empty
