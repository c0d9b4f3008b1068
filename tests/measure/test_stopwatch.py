import pytest

from kfc_bench.measure.stopwatch import CpuTimer, CudaTimer, Stopwatch, seconds_of, timer_for
from kfc_bench.spans import OTHER, listening, span
from tests.measure.fakes import FakeStream


class Ticks:
    """A timer on which only `work` takes time."""

    def __init__(self):
        self.now = 0.0

    def settle(self):
        pass

    def mark(self):
        return self.now

    between = CpuTimer.between

    def work(self, seconds):
        self.now += seconds


def test_spans_add_up_to_the_call():
    ticks = Ticks()

    def call():
        ticks.work(1)
        with span("forward"):
            ticks.work(2)
            with span("forward", "fc"):
                ticks.work(4)
            ticks.work(8)
        ticks.work(16)
        with span("forward", "fc"):
            ticks.work(32)

    watch = Stopwatch(ticks)
    with listening(watch):
        found = watch.time(call)
        assert watch.time(call) == found
    assert found == {OTHER: 17, ("forward", ""): 10, ("forward", "fc"): 36}
    assert list(found) == [("forward", ""), OTHER, ("forward", "fc")] or list(found)[-1] == OTHER
    assert sum(found.values()) == seconds_of(call, ticks) == 63


def test_a_devices_spans_are_read_after_the_call():
    stream = FakeStream(launch_s=1e-6)
    watch = Stopwatch(CudaTimer(stream))

    def call():
        with span("forward"):
            stream.kernel(1e-3)
            with span("forward", "conv"):
                stream.kernel(2e-3)
        with span("backward"):
            stream.kernel(4e-3)

    stream.kernel(0.5)
    with listening(watch):
        found = watch.time(call)
    assert found["forward", ""] == pytest.approx(1e-3, abs=2e-6)
    assert found["forward", "conv"] == pytest.approx(2e-3)
    assert found["backward", ""] == pytest.approx(4e-3)
    assert sum(found.values()) == pytest.approx(seconds_of(call, CudaTimer(stream)))


def test_the_device_waiting_for_the_host_is_in_the_span():
    stream = FakeStream(launch_s=1e-3)

    def call():
        with span("update"):
            stream.kernel(1e-6)
            stream.kernel(1e-6)

    watch = Stopwatch(CudaTimer(stream))
    with listening(watch):
        assert watch.time(call)["update", ""] == pytest.approx(2e-3, rel=0.01)


def test_the_host_has_its_own_timer():
    timer = timer_for("cpu")
    timer.settle()
    assert timer.between([timer.mark(), timer.mark()])[0] >= 0
