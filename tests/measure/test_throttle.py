import pytest

from kfc_bench.measure.telemetry import REASONS, Reading
from kfc_bench.measure.throttle import EXPLAINS, FIRST_SLEEP_S, LONGEST_SLEEP_S, RETRIES, SPOILS, Watch, throttled_by
from tests.measure.fakes import FakeTelemetry


def reading(*reasons, clock=1900.0, temperature=60.0):
    return Reading(clock, 1980.0, temperature, 300.0, frozenset(reasons))


GOOD = reading()
HOT = reading("hardware thermal slowdown")


def test_every_reason_is_judged():
    assert frozenset(REASONS.values()) == SPOILS | EXPLAINS
    assert not SPOILS & EXPLAINS


@pytest.mark.parametrize("reason", sorted(SPOILS))
def test_slowdowns_spoil_a_visit_whenever_they_are_seen(reason):
    assert throttled_by(reading(reason), GOOD) == throttled_by(GOOD, reading(reason, "power cap")) == reason


@pytest.mark.parametrize("reason", sorted(EXPLAINS))
def test_other_reasons_do_not_and_explain_a_low_clock(reason):
    assert throttled_by(GOOD, reading(reason)) is None
    assert throttled_by(GOOD, reading(reason, clock=300.0)) is None


JUDGED = [
    (GOOD, GOOD, None),
    (GOOD, reading(clock=0.76 * 1980), None),
    (GOOD, reading(clock=0.74 * 1980), "low clock"),
    (reading(clock=300.0), GOOD, None),
    (reading("idle", clock=300.0), GOOD, None),
    (Reading(), Reading(), None),
    (Reading(), Reading(sm_clock_mhz=300.0), None),
    (Reading(), Reading(sm_clock_mhz=300.0, max_sm_clock_mhz=1980.0), "low clock"),
]


@pytest.mark.parametrize(("before", "after", "expected"), JUDGED)
def test_judgement(before, after, expected):
    assert throttled_by(before, after) == expected


def watched(readings, visits, **options):
    """Take visits, and return the watch, the readings' number when each counted visit was taken, and the sleeps."""
    slept, taken, dropped, warmed = [], [], [], []
    watch = Watch(FakeTelemetry(list(readings)), sleep=slept.append, **options)
    for _ in range(visits):
        watch.take(lambda: taken.append(None), lambda: dropped.append(taken.pop()), lambda: warmed.append(len(slept)))
    assert len(taken) == len(watch.readings) == visits
    assert len(dropped) == len(slept) == watch.set_aside
    assert warmed == list(range(1, len(slept) + 1)), "after each sleep the device is warmed"
    return watch, slept


def test_a_throttled_visit_is_set_aside_and_counted():
    watch, slept = watched([GOOD, GOOD, GOOD, HOT, GOOD], 2)
    assert slept == [FIRST_SLEEP_S]
    assert (watch.throttled, watch.remark) == (1, None)
    assert HOT not in watch.readings


def test_sleeps_grow_and_retries_end():
    watch, slept = watched([HOT], 3)
    assert slept == [min(FIRST_SLEEP_S * 2**index, LONGEST_SLEEP_S) for index in range(RETRIES)]
    assert watch.throttled == RETRIES + 3
    assert watch.remark == "3 of 3 visits count though the GPU throttled: hardware thermal slowdown"


@pytest.mark.parametrize(("patience_s", "sleeps"), [(0.0, 0), (0.25, 1), (1.0, 2), (1.75, 3), (100.0, RETRIES)])
def test_a_case_sleeps_no_longer_than_its_patience(patience_s, sleeps):
    watch, slept = watched([HOT], 2, patience_s=patience_s)
    assert sum(slept) <= patience_s
    assert watch.set_aside == sleeps
    assert watch.throttled == sleeps + 2


def test_what_counts_is_forgotten_what_was_set_aside_is_not():
    watch, _ = watched([HOT], 2)
    watch.forget()
    assert watch.remark is None
    watch.take(lambda: None, lambda: pytest.fail("no retries are left"), lambda: None)
    assert watch.throttled == RETRIES + 1
    assert watch.remark == "1 of 1 visits count though the GPU throttled: hardware thermal slowdown"


def test_columns_are_medians_after_the_visits_that_count():
    readings = [GOOD, reading(temperature=50.0), GOOD, HOT, GOOD, reading(temperature=52.0), GOOD, reading()]
    watch, _ = watched(readings, 3)
    assert watch.columns() == {"sm_clock_mhz": 1900.0, "temperature_c": 52.0, "power_w": 300.0}


def test_a_device_that_tells_nothing_is_not_said_to_be_free_of_throttling():
    watch, slept = watched([Reading()], 3)
    assert slept == []
    assert watch.throttled is None
    assert set(watch.columns().values()) == {None}


def test_an_error_in_a_visit_gets_through():
    def fails():
        raise MemoryError

    with pytest.raises(MemoryError):
        Watch(FakeTelemetry()).take(fails, lambda: None, lambda: None)
