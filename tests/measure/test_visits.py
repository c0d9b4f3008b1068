import numpy as np
import pytest

from kfc_bench.measure.visits import BURST_SAMPLES, StoppingRule, Visits, median_interval


def visited(rule, *seconds):
    visits = Visits(rule)
    for value in seconds:
        visits.visit(None, lambda _, value=value: value)
    return visits


def until_stopped(rule, values):
    visits = Visits(rule)
    for value in values:
        visits.visit(None, lambda _, value=value: value)
        if visits.stop_reason is not None:
            break
    return len(visits.bursts), visits.stop_reason


STEADY = [1.0] * 100
NOISY = [1.0, 2.0] * 50
STOPS = {
    "half_width": (StoppingRule(least_visits=8, seconds=1e9), STEADY, (8, "half_width")),
    "least-six": (StoppingRule(least_visits=1, seconds=1e9), STEADY, (6, "half_width")),
    "visits": (StoppingRule(most_visits=15, seconds=1e9), NOISY, (15, "visits")),
    "seconds": (StoppingRule(least_visits=8, seconds=12.0), [3.0, 6.0] * 50, (8, "seconds")),
    "seconds-later": (StoppingRule(least_visits=8, seconds=15.0), NOISY, (10, "seconds")),
    "wide-enough": (StoppingRule(least_visits=7, half_width=0.5, seconds=1e9), NOISY, (7, "half_width")),
}


@pytest.mark.parametrize("case", STOPS)
def test_when_to_stop(case):
    rule, values, expected = STOPS[case]
    assert until_stopped(rule, values) == expected


@pytest.mark.parametrize(("least", "values"), [(12, STEADY), (12, [100.0] * 50), (9, NOISY)])
def test_never_before_the_least_number_of_visits(least, values):
    rule = StoppingRule(least_visits=least, seconds=1e-9)
    assert all(visited(rule, *values[:count]).stop_reason is None for count in range(1, least))
    assert visited(rule, *values[:least]).stop_reason is not None


@pytest.mark.parametrize(
    ("sample", "samples"),
    [(1.0, 1), (5e-3, 1), (2e-3, 3), (1e-6, BURST_SAMPLES), (0.0, BURST_SAMPLES)],
)
def test_a_burst_lasts_so_long_and_no_longer(sample, samples):
    assert visited(StoppingRule(), sample).samples == samples


def test_the_median_is_over_visits_not_samples():
    visits = Visits(StoppingRule(), [[1.0] * 20, [5.0], [3.0, 9.0, 3.0]])
    assert (visits.median, visits.samples) == (3.0, 24)


@pytest.mark.parametrize("count", range(6))
def test_too_few_values_have_no_interval(count):
    assert median_interval([float(value) for value in range(count)]) is None


@pytest.mark.parametrize(
    ("count", "ends"), [(6, (0, 5)), (8, (0, 7)), (9, (1, 7)), (12, (2, 9)), (20, (5, 14)), (40, (13, 26))]
)
def test_the_interval_lies_between_the_order_statistics_of_the_sign_test(count, ends):
    shuffled = np.random.default_rng(0).permutation(count).astype(float).tolist()
    assert median_interval(shuffled) == ends


@pytest.mark.parametrize("count", [6, 12, 25])
@pytest.mark.parametrize("skew", ["normal", "lognormal", "exponential"])
def test_the_interval_covers_the_median(count, skew):
    trials = 600
    draws = getattr(np.random.default_rng(count), skew)(size=(trials, count))
    median = {"normal": 0.0, "lognormal": 1.0, "exponential": np.log(2)}[skew]
    covered = sum(low <= median <= high for low, high in (median_interval(row.tolist()) for row in draws))
    assert covered / trials >= 0.95 - 2.5 * (0.95 * 0.05 / trials) ** 0.5


def test_confidence_widens_the_interval():
    values = [float(value) for value in range(30)]
    (low, high), (lower, higher) = median_interval(values), median_interval(values, 0.999)
    assert lower < low < high < higher
