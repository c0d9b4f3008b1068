import pytest

from kfc_bench.measure.energy import BATCH_S, LOOP_S, STILL_S, joules_per_call
from tests.measure.fakes import FakeStream, FakeTelemetry


class Device:
    """One stream, whose calls are counted, and whose counter follows its host's time."""

    def __init__(self, seconds, watts, step_s=0.1):
        self.stream = FakeStream(launch_s=0.0)
        self.telemetry = FakeTelemetry(now=lambda: self.stream.host, watts=watts, step_s=step_s)
        self.calls = 0
        self.seconds = seconds

    def run(self):
        self.calls += 1
        self.stream.kernel(self.seconds)

    def joules(self):
        return joules_per_call(self.run, self.telemetry, self.stream.synchronize, lambda: self.stream.host)


@pytest.mark.parametrize("seconds", [20e-6, 1e-3, 30e-3, 0.4, 3.0])
@pytest.mark.parametrize("step_s", [0.02, 0.1])
def test_joules_of_a_call_are_its_power_times_its_time(seconds, step_s):
    device = Device(seconds, 400.0, step_s)
    late = 2 * BATCH_S if seconds < step_s else step_s
    assert device.joules() == pytest.approx(400.0 * seconds, rel=late / LOOP_S)
    assert device.calls * seconds >= LOOP_S


def test_short_calls_are_queued_in_batches_no_longer_than_needed():
    device = Device(100e-6, 400.0)
    waits = []
    synchronize = device.stream.synchronize
    device.stream.synchronize = lambda: (waits.append(device.stream.host), synchronize())
    device.joules()
    assert BATCH_S / 2 <= device.stream.host / len(waits) <= BATCH_S


def test_without_a_counter_nothing_runs():
    device = Device(1e-3, None)
    assert device.joules() is None
    assert device.calls == 0


def test_a_counter_that_stands_still_says_nothing():
    device = Device(1e-3, 0.0)
    assert device.joules() is None
    assert device.stream.host < 2 * STILL_S + LOOP_S + 0.1
