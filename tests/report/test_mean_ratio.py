import math

import pytest

from kfc_bench.report.mean_ratio import MeanRatio, mean_ratio

T_1, T_2 = 12.7062047, 4.3026527
"""97.5 % points of Student's t with one and two degrees of freedom, from a table."""


def test_two_pairs_by_hand():
    # log2 of the ratios: 1 and 3; mean 2, standard error 1.
    assert mean_ratio([1, 2], [2, 16]) == pytest.approx((4, 2 ** (2 - T_1), 2 ** (2 + T_1)), rel=1e-6)


def test_three_pairs_by_hand():
    # log2: 0, 1 and 2; mean 1, standard deviation 1.
    half = T_2 / math.sqrt(3)
    assert mean_ratio([5, 3, 1], [5, 6, 4]) == pytest.approx((2, 2 ** (1 - half), 2 ** (1 + half)), rel=1e-6)


def test_pairs_that_agree_leave_no_doubt():
    assert mean_ratio([1, 2, 3], [3, 6, 9]) == pytest.approx((3, 3, 3))


def test_one_pair_has_no_interval_and_none_no_mean():
    assert mean_ratio([2], [3]) == pytest.approx((1.5, math.nan, math.nan), nan_ok=True)
    assert all(map(math.isnan, mean_ratio([], [])))


def test_the_other_way_round():
    assert MeanRatio(2, 0.5, 8).inverse() == (0.5, 0.125, 2)
    assert mean_ratio([1, 2, 5], [2, 3, 4]).inverse() == pytest.approx(mean_ratio([2, 3, 4], [1, 2, 5]))
