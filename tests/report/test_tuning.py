"""What tuning tried, from a few trials whose best can be told by eye."""

import math

import pytest

from kfc_bench.report.tuning import (
    SENSITIVITY_COLUMNS,
    budget_table,
    chosen_table,
    sensitivities,
    sensitivity_table,
    tuning_budgets,
)
from tests.helpers import results_of
from tests.report.trained import diverged, never, trained

TUNING = [
    trained("kfc", 0, 20, 4.0, role="tuning", damping=0.1, lr=0.1, loss=0.3),
    trained("kfc", 0, 10, 2.0, role="tuning", damping=0.1, lr=0.2, loss=0.4),
    never("kfc", 0, role="tuning", damping=0.01, lr=0.1, loss=0.7),
    never("kfc", 0, role="tuning", damping=0.01, lr=0.2, loss=0.6),
    diverged("kfc", 0, role="tuning", damping=1.0, lr=0.1),
    trained("sgd", 0, 30, 3.0, role="tuning", lr=0.1, loss=0.2),
    trained("sgd", 0, 30, 3.0, role="tuning", lr=0.2, loss=0.1),
]
REPORT = [
    trained("kfc", 1, 10, 2.0, damping=0.1, lr=0.2, on_edge=True, clip=0.3, schedule="cosine", batch=1024),
    trained("sgd", 1, 30, 3.0, lr=0.2),
]
RECORDS = [*TUNING, *REPORT]


def rows_of(tmp_path, hyperparameter):
    frame = sensitivities(results_of(tmp_path, RECORDS))
    assert list(frame.columns) == SENSITIVITY_COLUMNS
    return frame[frame["hyperparameter"] == hyperparameter].to_dict("records")


def test_each_damping_counts_by_the_best_of_all_else(tmp_path):
    names = ("value", "trials", "trials_reached", "trials_diverged", "epochs_to_target", "validation_loss", "chosen")
    found = [tuple(row[name] for name in names) for row in rows_of(tmp_path, "damping")]
    assert found[:2] == [(0.01, 2, 0, 0, math.inf, 0.6, False), (0.1, 2, 2, 0, 1.0, 0.4, True)]
    assert found[2] == pytest.approx((1.0, 1, 0, 1, math.inf, math.nan, False), nan_ok=True)


def test_learning_rates_are_those_of_every_optimizer(tmp_path):
    found = [
        (row["optimizer"], row["value"], row["epochs_to_target"], row["validation_loss"], row["chosen"])
        for row in rows_of(tmp_path, "lr")
    ]
    assert found == [
        ("kfc", 0.1, 2.0, 0.3, False),
        ("kfc", 0.2, 1.0, 0.4, True),
        ("sgd", 0.1, 3.0, 0.2, False),
        ("sgd", 0.2, 3.0, 0.1, True),
    ]


def test_between_trials_that_never_arrive_the_loss_decides(tmp_path):
    (row,) = (row for row in rows_of(tmp_path, "damping") if row["value"] == 0.01)
    assert row["validation_loss"] == 0.6


def test_the_table_of_dampings(tmp_path):
    table = sensitivity_table(results_of(tmp_path, RECORDS), "damping")
    assert table.rows == [
        ["digits", "kfc", "0.01", "not reached", "0.6", "0 of 2", "-"],
        ["digits", "kfc", "0.1 *", "1", "0.4", "2 of 2", "-"],
        ["digits", "kfc", "1", "not reached", "-", "0 of 1", "1"],
    ]


def test_what_was_not_varied_has_no_table(tmp_path):
    assert sensitivity_table(results_of(tmp_path, [TUNING[0], TUNING[1]]), "damping") is None


def test_what_tuning_took(tmp_path):
    results = results_of(tmp_path, RECORDS)
    assert tuning_budgets(results)["seconds"].tolist() == [40.0, 16.0]
    assert budget_table(results).rows == [
        ["digits", "kfc", "5", "2", "1", "40 s"],
        ["digits", "sgd", "2", "2", "-", "16 s"],
    ]


def test_what_tuning_chose_and_what_lies_on_an_edge(tmp_path):
    assert chosen_table(results_of(tmp_path, RECORDS)).rows == [
        ["digits", "kfc (edge)", "1024", "0.2", "0.9", "0.1", "cosine", "0.3"],
        ["digits", "sgd", "64", "0.2", "0.9", "-", "-", "-"],
    ]


def test_a_search_alone_shows_the_best_that_it_tried(tmp_path):
    lost = [diverged("adam", 0, role="tuning", lr=lr) for lr in (0.2, 0.1)]
    results = results_of(tmp_path, [*TUNING, *lost])
    assert chosen_table(results).rows == [
        ["digits", "kfc (best tried)", "64", "0.2", "0.9", "0.1", "-", "-"],
        ["digits", "sgd (best tried)", "64", "0.2", "0.9", "-", "-", "-"],
        ["digits", "adam (best tried)", "64", "0.1", "0.9", "0.01", "-", "-"],
    ]
    found = sensitivities(results).query("hyperparameter == 'lr' and chosen")
    assert dict(zip(found["optimizer"], found["value"], strict=True)) == {"kfc": 0.2, "sgd": 0.2, "adam": 0.1}


def test_as_many_examples_at_another_batch_are_a_tie_that_the_loss_decides(tmp_path):
    records = [
        trained("sgd", 0, 49, 2.0, length=(781, 781 * 64 / 50_000, 8.0), role="tuning", loss=0.4),
        trained("sgd", 0, 1, 2.0, length=(15, 15 * 3136 / 50_000, 8.0), role="tuning", batch=3136, loss=0.3),
    ]
    ((_, _, batch, *_),) = chosen_table(results_of(tmp_path, records)).rows
    assert batch == "3136"


def test_without_tuning_there_is_none_of_it(tmp_path):
    results = results_of(tmp_path, REPORT)
    assert sensitivities(results).empty
    assert budget_table(results) is None
    assert sensitivity_table(results, "lr") is None
