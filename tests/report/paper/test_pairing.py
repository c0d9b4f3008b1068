"""When levels are reached, and means over paired seeds."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kfc_bench.report.paper.pairing import by_seed, mean_difference, mean_ratio, speedup, when
from tests.report.paper.made import curve


def test_a_level_is_reached_between_evaluations():
    clock, values = pd.Series([1, 2, 4]), pd.Series([0.8, 0.9, 0.4])
    assert when(clock, values, 0.8) == 1
    assert when(clock, values, 0.6) == pytest.approx(3), "the running minimum is 0.8 until it falls"
    assert when(clock, values, 0.3) == math.inf


def test_a_curve_scaled_in_time_is_so_many_times_faster():
    slow, fast = pd.DataFrame(curve(1)), pd.DataFrame(curve(3))
    assert speedup(slow, fast, "seconds", "test_error") == pytest.approx(3)
    assert speedup(fast, slow, "step", "test_error") == pytest.approx(1 / 3)


def test_the_level_is_the_worse_of_both_minima():
    slow, fast = pd.DataFrame(curve(1)), pd.DataFrame(curve(1, lift=0.1))
    # The lifted one is at 0.15 in the end, where the other has been after 30 of 40 seconds.
    assert speedup(slow, fast, "seconds", "test_error") == pytest.approx(30 / 40)


def test_a_level_that_is_the_start_says_nothing():
    flat = pd.DataFrame(curve(1)).assign(test_error=2.0)
    assert math.isnan(speedup(flat, pd.DataFrame(curve(1)), "seconds", "test_error"))
    assert math.isnan(speedup(flat.assign(test_error=math.nan), flat, "seconds", "test_error"))


def test_intervals_are_those_of_scipy():
    ratios = [1.5, 2.0, 2.5]
    found = mean_ratio(ratios)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(np.log(ratios)), scale=stats.sem(np.log(ratios)))
    assert (found.mean, found.low, found.high) == pytest.approx((stats.gmean(ratios), math.exp(low), math.exp(high)))
    assert str(found).endswith("3 seeds")
    low, high = stats.t.interval(0.95, 2, loc=2, scale=stats.sem(ratios))
    assert mean_difference(ratios).low == pytest.approx(low)
    assert mean_difference(ratios).high == pytest.approx(high)


def test_one_pair_has_no_interval():
    assert str(mean_ratio([2.0])) == "2 no interval, 1 seed"
    assert not mean_ratio([2.0]).decided


def test_only_seeds_of_both_are_paired():
    first = pd.DataFrame({"seed": [0, 1, 2], "value": [1.0, 2.0, 3.0]})
    second = pd.DataFrame({"seed": [2, 1, 5], "value": [10.0, 20.0, 30.0]})
    assert by_seed(first, second, lambda a, b: b["value"].iloc[0] / a["value"].iloc[0]) == [10, pytest.approx(10 / 3)]
