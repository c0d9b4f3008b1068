import numpy as np
import pytest

from kfc_bench.report.history import FEWEST_RUNS, between_runs


def repeated(seed, *, runs, cases=100, shared=0.02, rest=0.03):
    random = np.random.default_rng(seed)
    speeds = np.exp(random.uniform(-9, 0, size=cases))
    days = random.normal(scale=shared, size=runs)
    return [
        {f"case {index}": speed * np.exp(day + random.normal(scale=rest)) for index, speed in enumerate(speeds)}
        for day in days
    ]


def test_the_variances_are_found():
    history = between_runs([repeated(seed, runs=6) for seed in range(30)])
    assert history.shared**0.5 == pytest.approx(0.02, rel=0.15)
    assert history.pooled**0.5 == pytest.approx(0.03, rel=0.05)
    assert (history.runs, history.cases) == (30 * 5, 100)
    assert history.variance("case 3") >= history.shared + history.pooled


@pytest.mark.parametrize("runs", range(FEWEST_RUNS))
def test_too_few_runs_say_nothing(runs):
    assert between_runs([repeated(0, runs=runs)] * 5) is None


def test_runs_without_a_case_in_common_say_nothing():
    assert between_runs([[{"a": 1.0}, {"b": 1.0}, {"c": 1.0}]]) is None
    assert between_runs([]) is None


def test_only_cases_of_every_run_count():
    history = between_runs([[{"a": 1.0, "b": 1.0}, {"a": 1.1}, {"a": 0.9, "b": 5.0}]])
    assert set(history.own) == {"a"}


def test_a_run_that_was_broken_off_does_not_spoil_the_rest():
    runs = repeated(0, runs=4)
    spoilt = [*runs, {}, {"case 1": 1.0}]
    assert between_runs([spoilt]) == between_runs([runs])


def test_a_noisy_case_has_a_variance_of_its_own():
    runs = [{"calm": 1.0, "calmer": 1.0, "wild": wild} for wild in (1.0, 2.0, 0.5, 1.5)]
    history = between_runs([runs])
    assert history.variance("wild") > history.variance("calm") >= history.shared + history.pooled


def test_what_moves_all_cases_has_few_degrees_of_freedom():
    together = between_runs([repeated(0, runs=4, shared=0.1, rest=0.001)])
    apart = between_runs([repeated(0, runs=4, shared=0.0, rest=0.03)])
    assert together.degrees < 4 < 30 < apart.degrees


def test_runs_that_agree_wholly():
    history = between_runs([[{"a": 1.0}] * 3])
    assert (history.variance("a"), history.degrees) == (0.0, 2.0)
