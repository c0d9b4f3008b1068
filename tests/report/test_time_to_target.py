"""Speed-ups by hand: what is paired, what is censored, and what a bound may say."""

import math

import pytest

from kfc_bench.report.time_to_target import TIME_TO_TARGET_COLUMNS, against_sgd
from kfc_bench.results.frames import load_results
from tests.helpers import results_of, write_run
from tests.report.test_mean_ratio import T_1
from tests.report.trained import diverged, never, trained

NAN = math.nan


def row_of(tmp_path, *records, optimizer="kfc"):
    frame = against_sgd(results_of(tmp_path, records))
    assert list(frame.columns) == TIME_TO_TARGET_COLUMNS
    (row,) = frame[frame["optimizer"] == optimizer].to_dict("records")
    return row


def speedup_of(row, measure="seconds"):
    return tuple(row[f"{measure}_speedup{part}"] for part in ("", "_low", "_high", "_bound"))


def about(*numbers):
    return pytest.approx(numbers, rel=1e-6, nan_ok=True)


def test_the_speed_up_is_a_mean_over_pairs_of_the_same_seed(tmp_path):
    sgd = [trained("sgd", 1, 40, 8.0), trained("sgd", 2, 20, 2.0)]
    kfc = [trained("kfc", 2, 10, 1.0), trained("kfc", 1, 5, 1.0)]
    row = row_of(tmp_path, *sgd, *kfc)
    # Seconds: 8 / 1 and 2 / 1, in log2 3 and 1; steps: 40 / 5 and 20 / 10, in log2 3 and 1.
    for measure in ("seconds", "steps", "epochs"):
        *numbers, bound = speedup_of(row, measure)
        assert numbers == about(4, 2 ** (2 - T_1), 2 ** (2 + T_1))
        assert bound == ""
    assert (row["pairs"], row["seeds"], row["seeds_reached"], row["seeds_diverged"]) == (2, 2, 2, 0)
    assert (row["steps_to_target"], row["epochs_to_target"], row["seconds_to_target"]) == about(7.5, 0.75, 1)


def test_batches_need_not_be_alike(tmp_path):
    sgd = trained("sgd", 1, 20, 4.0, batch=64)
    kfc = trained("kfc", 1, 4, 2.0, batch=256, length=(10, 4.0, 8.0))
    row = row_of(tmp_path, sgd, kfc)
    assert (row["batch"], row["epochs_to_target"]) == about(256, 1.6)
    assert [speedup_of(row, measure)[0] for measure in ("seconds", "steps", "epochs")] == about(2, 5, 2 / 1.6)


def test_where_sgd_never_arrives_its_whole_run_is_a_lower_bound(tmp_path):
    row = row_of(tmp_path, never("sgd", 1), trained("sgd", 2, 20, 4.0), *(trained("kfc", s, 10, 2.0) for s in (1, 2)))
    # SGD would have needed more than 8 s where KFC took 2, and took 4 where KFC took 2.
    *numbers, bound = speedup_of(row)
    assert numbers == about(math.sqrt(4 * 2), NAN, NAN)
    assert bound == "at least"


def test_where_the_optimizer_never_arrives_its_whole_run_is_an_upper_bound(tmp_path):
    row = row_of(tmp_path, trained("sgd", 1, 10, 2.0), never("kfc", 1))
    *numbers, bound = speedup_of(row)
    assert numbers == about(2 / 8, NAN, NAN)
    assert bound == "at most"
    assert row["seconds_to_target"] == math.inf


@pytest.mark.parametrize(
    "records",
    [
        [never("sgd", 1), never("kfc", 1)],
        [never("sgd", 1), trained("kfc", 1, 10, 2.0), trained("sgd", 2, 10, 2.0), never("kfc", 2)],
        [trained("kfc", 1, 10, 2.0)],
        [trained("sgd", 2, 10, 2.0), trained("kfc", 1, 10, 2.0)],
        [trained("sgd", 1, 0, 0.0), trained("kfc", 1, 10, 2.0)],
        [trained("sgd", 1, None, None, status="crashed", curve=[]), trained("kfc", 1, 10, 2.0)],
        [trained("sgd", 1, 10, 2.0), trained("sgd", 2, 10, 2.0), trained("kfc", 1, 5, 1.0), diverged("kfc", 2)],
        [diverged("sgd", 1), trained("kfc", 1, 10, 2.0)],
    ],
    ids=[
        "neither arrives",
        "bounds both ways",
        "no SGD",
        "no common seed",
        "no training needed",
        "crashed",
        "diverged",
        "SGD diverged",
    ],
)
def test_where_nothing_can_be_said_nothing_is(tmp_path, records):
    *numbers, bound = speedup_of(row_of(tmp_path, *records))
    assert all(map(math.isnan, numbers))
    assert bound == ""


def test_a_diverged_run_counts_as_never_arriving(tmp_path):
    lost = diverged("kfc", 1, length=(30, 3.0, 6.0)) | {"steps_to_target": 10, "seconds_to_target": 1.0}
    row = row_of(tmp_path, trained("sgd", 1, 10, 2.0), lost)
    assert (row["seeds_reached"], row["seeds_diverged"], row["steps_to_target"]) == (0, 1, math.inf)


def test_one_seed_has_no_interval(tmp_path):
    row = row_of(tmp_path, trained("sgd", 1, 10, 2.0), trained("kfc", 1, 5, 4.0))
    assert speedup_of(row)[:3] == about(0.5, NAN, NAN)


def test_seeds_that_only_one_side_ran_are_in_its_medians_alone(tmp_path):
    sgd, kfc = [trained("sgd", 1, 10, 2.0)], [trained("kfc", 1, 5, 1.0), trained("kfc", 2, 5, 3.0)]
    row = row_of(tmp_path, *sgd, *kfc)
    assert (row["seeds"], row["pairs"], row["seconds_to_target"], row["seconds_speedup"]) == about(2, 1, 2, 2)


def test_sections_are_not_mixed(tmp_path):
    short = {"section": "short"}
    records = [trained("sgd", 1, 40, 8.0), trained("kfc", 1, 10, 2.0)]
    records += [trained("sgd", 1, 20, 4.0, **short), trained("kfc", 1, 20, 4.0, **short)]
    frame = against_sgd(results_of(tmp_path, records)).query("optimizer == 'kfc'").set_index("section")
    assert dict(frame["seconds_speedup"]) == pytest.approx({"convergence": 4, "short": 1})


EDITS = {
    "another target": ({"target_value": 0.05}, {"target_value": 0.03}),
    "other settings": ({"lr": 0.1}, {"lr": 0.2}),
    "what no column tells": ({}, {}),
}


@pytest.mark.parametrize(("before", "after"), EDITS.values(), ids=EDITS)
def test_trials_of_an_earlier_version_of_the_suite_are_left_out(tmp_path, before, after):
    target = {"target_metric": "error", "target_value": 0.03}
    old = [trained("sgd", seed, 40, 8.0, **target | before) for seed in (1, 2)]
    old += [trained("kfc", seed, 40, 8.0, **target | before) for seed in (1, 2, 3)]
    new = [trained("sgd", seed, 20, 4.0, **target | after, case_id=f"new sgd {seed}") for seed in (1, 2)]
    new += [trained("kfc", seed, 10, 1.0, **target | after, case_id=f"new kfc {seed}") for seed in (1, 2)]
    row = row_of(tmp_path, *old, *new)
    assert (row["pairs"], row["seconds_speedup"]) == about(2, 4)


def test_each_run_keeps_its_own_trials(tmp_path):
    for run, way in (("run1", 8.0), ("run2", 2.0)):
        write_run(tmp_path, [trained("sgd", 1, 10, way), trained("kfc", 1, 10, 1.0, lr=way)], run_id=run)
    (row,) = against_sgd(load_results([tmp_path], every_run=True)).query("optimizer == 'kfc'").to_dict("records")
    assert (row["pairs"], row["seconds_speedup"]) == about(2, 4)


def test_the_winner_s_hyperparameters_stand_beside_it(tmp_path):
    chosen = {"lr": 0.3, "schedule": "cosine", "clip": 0.3, "on_edge": True, "averaging": 0.5}
    row = row_of(tmp_path, trained("kfc", 1, 10, 2.0, **chosen))
    assert {name: row[name] for name in chosen} == chosen


def test_no_trial_gives_no_row(tmp_path):
    frame = against_sgd(results_of(tmp_path, [trained("kfc", 1, 10, 2.0, role="tuning")]))
    assert frame.empty
    assert list(frame.columns) == TIME_TO_TARGET_COLUMNS


def test_an_epoch_costs_its_seconds_over_sgd_s_of_the_same_seed(tmp_path):
    sgd = [trained("sgd", 1, 10, 2.0, length=(40, 4.0, 4.0)), never("sgd", 2, length=(40, 4.0, 8.0))]
    kfc = [never("kfc", 1, length=(10, 4.0, 8.0)), never("kfc", 2, length=(20, 8.0, 128.0))]
    row = row_of(tmp_path, *sgd, *kfc, diverged("kfc", 3, length=(40, 4.0, 400.0)))
    # An epoch takes 1 and 2 s of SGD, 2 and 16 s of KFC; log2 of the ratios: 1 and 3.
    assert row["epoch_s"] == pytest.approx(9)
    cost = [row[f"epoch_ratio{part}"] for part in ("", "_low", "_high")]
    assert cost == about(4, 2 ** (2 - T_1), 2 ** (2 + T_1))


def test_an_epoch_s_cost_without_sgd_or_an_ended_trial(tmp_path):
    alone = row_of(tmp_path / "alone", never("kfc", 1))
    assert (alone["epoch_s"], alone["epoch_ratio"]) == about(2, NAN)
    lost = row_of(tmp_path / "lost", diverged("kfc", 1), never("sgd", 1))
    assert (lost["epoch_s"], lost["epoch_ratio"]) == about(NAN, NAN)
