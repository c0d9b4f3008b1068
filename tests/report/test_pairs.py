import pandas as pd
import pytest

from kfc_bench.report.comparison import step_costs
from kfc_bench.report.pairs import paired
from tests.helpers import results_of, step_record

DRIFT = [1.0, 2.0, 4.0, 8.0, 4.0, 2.0, 1.0, 3.0]


def visited(factor, *, first=1, last=8, group="g"):
    visits = [factor * value for value in DRIFT[first - 1 : last]]
    return {"visit_group": group, "last_round": last, "visit_medians_s": visits}


def test_visits_meet_those_of_the_same_round():
    ratio = paired(visited(1.0), visited(1.5))
    assert (ratio.ratio, ratio.pairs) == (pytest.approx(1.5), 8)


@pytest.mark.parametrize(("first", "last", "pairs"), [(2, 8, 7), (1, 7, 7), (3, 8, 6)])
def test_a_case_that_was_timed_again_or_stopped_early_is_aligned(first, last, pairs):
    for ratio in (paired(visited(1.0), visited(1.5, first=first, last=last)),):
        assert (ratio.ratio, ratio.pairs) == (pytest.approx(1.5), pairs)
        assert ratio.interval() == pytest.approx((1.5, 1.5))


NOT_IN_TURN = {
    "another-session": visited(1.5, group="h"),
    "no-session": visited(1.5, group=None),
    "too-few": visited(1.5, first=4),
    "no-visits": visited(1.5) | {"visit_medians_s": None},
    "nothing": {},
}


@pytest.mark.parametrize("case", NOT_IN_TURN)
def test_what_was_not_visited_in_turn_is_not_paired(case):
    assert paired(visited(1.0), NOT_IN_TURN[case]) is None
    assert paired(NOT_IN_TURN[case], visited(1.0)) is None


def test_steps_are_paired_with_sgd(tmp_path):
    far_ends = (4.0, 1.0, 8.0)
    records = [
        step_record("sgd", far_ends, batch=64, **visited(1.0)),
        step_record("kfc", far_ends, batch=64, **visited(1.5)),
        step_record("diagonal", far_ends, batch=64),
    ]
    frame = step_costs(results_of(tmp_path, records).cost).set_index("approximation")
    assert frame.loc["kfc", ["step_ratio", "step_ratio_low", "step_ratio_high"]].tolist() == pytest.approx([1.5] * 3)
    assert frame.loc["diagonal", ["step_ratio_low", "step_ratio_high"]].tolist() == [1 / 8, 8.0]
    assert pd.notna(frame.loc["sgd", "step_ratio"])
