"""Profiles by hand: of four runs, how often each optimizer is within a factor of the best."""

import pytest

from kfc_bench.report.performance_profile import PROFILE_COLUMNS, performance_profiles, profile_table
from tests.helpers import results_of
from tests.report.trained import diverged, never, trained

SEEDS = (1, 2, 3, 4)
SECONDS = {"sgd": (4.0, 6.0, 3.0, None), "kfc": (2.0, 2.0, 4.5, None)}
"""Of the last run's target, nobody sees anything."""


def records_of(seconds=SECONDS, **own):
    return [
        trained(name, seed, None if time is None else int(10 * time), time, **own)
        for name, times in seconds.items()
        for seed, time in zip(SEEDS, times, strict=True)
    ]


def staircase(frame, optimizer, measure="seconds"):
    own = frame[(frame["optimizer"] == optimizer) & (frame["measure"] == measure)]
    return dict(zip(own["tau"], own["share"], strict=True))


def test_the_staircases_and_their_areas(tmp_path):
    frame = performance_profiles(results_of(tmp_path, records_of()))
    assert list(frame.columns) == PROFILE_COLUMNS
    for measure in ("seconds", "epochs"):
        assert staircase(frame, "sgd", measure) == {1: 0.25, 2: 0.5, 3: 0.75, 4: 0.75}
        assert staircase(frame, "kfc", measure) == {1: 0.5, 1.5: 0.75, 4: 0.75}
    areas = frame.drop_duplicates("optimizer").set_index("optimizer")["area"]
    # Rectangles: 1 x 0.25 + 1 x 0.5 + 1 x 0.75, and 0.5 x 0.5 + 2.5 x 0.75; over 3.
    assert dict(areas) == pytest.approx({"sgd": 1.5 / 3, "kfc": 2.125 / 3})
    assert set(frame["runs"]) == {4}


def test_the_area_is_that_under_the_staircase(tmp_path):
    frame = performance_profiles(results_of(tmp_path, records_of()))
    for _, own in frame.groupby(["measure", "optimizer"]):
        under = (own["share"].iloc[:-1].to_numpy() * own["tau"].diff().iloc[1:].to_numpy()).sum() / 3
        assert own["area"].iloc[0] == pytest.approx(under)


def test_what_is_beyond_four_times_the_best_counts_for_nothing(tmp_path):
    records = [trained("sgd", 1, 10, 1.0), trained("kfc", 1, 41, 4.1), diverged("ekfac", 1)]
    frame = performance_profiles(results_of(tmp_path, records))
    for name in ("kfc", "ekfac"):
        assert staircase(frame, name) == {1: 0, 4: 0}
    assert set(frame.loc[frame["optimizer"] != "sgd", "area"]) == {0.0}


def test_the_best_is_sought_by_problem_and_seed(tmp_path):
    other = records_of({"sgd": (1.0,) * 4, "kfc": (2.0,) * 4}, problem="mnist")
    frame = performance_profiles(results_of(tmp_path, [*records_of(), *other]))
    assert staircase(frame, "kfc") == {1: 0.25, 1.5: 0.375, 2: 0.875, 4: 0.875}


def test_as_many_examples_are_as_many_epochs_at_any_batch(tmp_path):
    # 49 batches of 64 images or 1 of 3,136, of 50,000: neither number of epochs is exact in binary.
    records = [
        trained("sgd", 1, 49, 2.0, length=(781, 781 * 64 / 50_000, 8.0)),
        trained("kfc", 1, 1, 1.0, length=(15, 15 * 3136 / 50_000, 8.0), batch=3136),
    ]
    frame = performance_profiles(results_of(tmp_path, records))
    for name in ("sgd", "kfc"):
        assert staircase(frame, name, "epochs") == {1: 1, 4: 1}


def test_an_optimizer_is_judged_by_the_runs_it_had(tmp_path):
    records = [trained("sgd", 1, 10, 2.0), trained("sgd", 2, 10, 2.0), trained("kfc", 1, 10, 1.0)]
    frame = performance_profiles(results_of(tmp_path, records))
    assert dict(frame.drop_duplicates("optimizer").set_index("optimizer")["runs"]) == {"sgd": 2, "kfc": 1}
    assert staircase(frame, "kfc") == {1: 1, 4: 1}


def test_a_target_met_before_the_first_step_is_met_best_by_all(tmp_path):
    frame = performance_profiles(results_of(tmp_path, [trained("sgd", 1, 0, 0.0), trained("kfc", 1, 0, 0.0)]))
    assert set(frame["area"]) == {1.0}


def test_the_table_says_over_what_it_was_taken(tmp_path):
    table = profile_table(results_of(tmp_path / "one", records_of()))
    assert table.title == "Performance profiles over 4 seeds of one problem, digits (CPU, no GPU: Some CPU)"
    assert table.rows == [
        ["kfc", "4", *["50 %", "75 %", "0.708"] * 2],
        ["sgd", "4", *["25 %", "50 %", "0.5"] * 2],
    ]
    both = results_of(tmp_path / "both", [*records_of(), *records_of(problem="mnist")])
    assert profile_table(both).title.startswith("Performance profiles over 8 runs of 2 problems (")


def test_one_optimizer_alone_has_no_table(tmp_path):
    assert profile_table(results_of(tmp_path, [never("kfc", 1)])) is None
