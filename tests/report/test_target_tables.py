import math

import pytest

from kfc_bench.report.mean_ratio import MeanRatio
from kfc_bench.report.target_tables import epoch_table, speedup_words, target_tables
from kfc_bench.report.time_to_target import Speedup
from tests.helpers import cost_record, results_of
from tests.report.trained import diverged, never, trained

NAN = math.nan


@pytest.mark.parametrize(
    ("mean", "bound", "words"),
    [
        ((4, 2, 8), "", "4x faster [2, 8]"),
        ((0.25, 0.125, 0.5), "", "4x slower [2, 8]"),
        ((2, 0.5, 8), "", "2x [0.5, 8], unclear"),
        ((2, 1, 4), "", "2x [1, 4], unclear"),
        ((2, NAN, NAN), "", "2x faster, one seed"),
        ((0.5, NAN, NAN), "", "2x slower, one seed"),
        ((3.1, NAN, NAN), "at least", "at least 3.1x faster"),
        ((0.5, NAN, NAN), "at least", "at most 2x slower"),
        ((3.1, NAN, NAN), "at most", "at most 3.1x faster"),
        ((0.5, NAN, NAN), "at most", "at least 2x slower"),
        ((NAN, NAN, NAN), "", "-"),
    ],
    ids=str,
)
def test_a_speed_up_in_words(mean, bound, words):
    assert speedup_words(Speedup(MeanRatio(*mean), bound)) == words


def test_the_soonest_stands_first_and_sgd_is_the_baseline(tmp_path):
    records = [
        *(trained("sgd", seed, 1200, 4.0, length=(2400, 4.0, 8.0)) for seed in (1, 2)),
        *(trained("kfc", seed, 10, 1.0) for seed in (1, 2)),
        *(never("diagonal", seed) for seed in (1, 2)),
        *(diverged("ekfac", seed) for seed in (1, 2)),
    ]
    targeted = [record | {"target_metric": "error", "target_value": 0.03} for record in records]
    (table,) = target_tables(results_of(tmp_path, targeted))
    assert table.title == "Way to the target: digits, error 0.03 (CPU, no GPU: Some CPU)"
    lost = ["not reached"] * 3
    assert table.rows == [
        ["kfc", "2 of 2", "-", "10", "1", "1 s", "4x faster [4, 4]"],
        ["sgd", "2 of 2", "-", "1200", "2", "4 s", "baseline"],
        ["diagonal", "0 of 2", "-", *lost, "at least 2x slower"],
        ["ekfac", "0 of 2", "2", *lost, "-"],
    ]


def test_each_section_has_its_table_and_its_name(tmp_path):
    records = [never("sgd", 1), never("sgd", 1, section="long"), never("sgd", 1, problem="mnist")]
    titles = [table.title.split(" (")[0] for table in target_tables(results_of(tmp_path, records))]
    assert titles == [
        "Way to the target: digits, convergence",
        "Way to the target: digits, long",
        "Way to the target: mnist, digits",
    ]


def test_an_epoch_beside_the_paper_s_bound(tmp_path):
    seconds = {"kfc": (1.5, 1.5), "block_diagonal": (3.0, 3.0), "diagonal": (1.0, 4.0), "exact": (5.0,)}
    records = [never("sgd", seed, length=(40, 4.0, 4.0)) for seed in (1, 2)]
    records += [
        never(name, seed, length=(40, 4.0, 4.0 * epoch))
        for name, epochs in seconds.items()
        for seed, epoch in enumerate(epochs, start=1)
    ]
    table = epoch_table(results_of(tmp_path, records))
    assert table.header[-1] == "within 2x"
    assert [(row[1], *row[3:]) for row in table.rows] == [
        ("sgd", "1 s", "baseline", "-"),
        ("kfc", "1.5 s", "1.5x [1.5, 1.5]", "yes"),
        ("block_diagonal", "3 s", "3x [3, 3]", "no"),
        ("diagonal", "2.5 s", "2x [0.000299, 13400]", "unclear"),
        ("exact", "5 s", "5x", "-"),
    ]


def test_no_trial_no_table(tmp_path):
    results = results_of(tmp_path, [cost_record()])
    assert (target_tables(results), epoch_table(results)) == ([], None)
