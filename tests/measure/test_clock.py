from types import SimpleNamespace

import pytest
import torch

from kfc_bench.measure import clock as clocks
from kfc_bench.measure.clock import SHORTEST_SAMPLE_S, CpuClock, CudaClock, clock_for


class FakeTime:
    def __init__(self, monkeypatch, step):
        self.now = 0.0
        self.step = step
        monkeypatch.setattr(clocks.time, "perf_counter", lambda: self.now)

    def call(self):
        self.now += self.step


@pytest.mark.parametrize(
    ("step", "calls"), [(1.0, 1), (SHORTEST_SAMPLE_S, 1), (SHORTEST_SAMPLE_S / 2, 2), (SHORTEST_SAMPLE_S / 3.5, 4)]
)
def test_short_calls_are_repeated_until_a_sample_is_long_enough(monkeypatch, step, calls):
    fake, made = FakeTime(monkeypatch, step), []

    def run():
        made.append(None)
        fake.call()

    assert CpuClock().sample(run) == pytest.approx(step)
    assert len(made) == calls


def test_the_cpu_clock_measures_real_time():
    assert 0 < CpuClock().sample(lambda: sum(range(100))) < 0.1
    CpuClock().synchronize()


def test_the_cuda_clock_flushes_then_times_between_events(monkeypatch):
    log = []

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing
            self.at = None

        def record(self):
            self.at = len(log)
            log.append("event")

        def synchronize(self):
            log.append("wait")

        def elapsed_time(self, end):
            return 5.0 * (end.at - self.at)

    buffer = SimpleNamespace(zero_=lambda: log.append("flush"))
    allocated = {}

    def empty(size, **options):
        allocated.update(options, size=size)
        return buffer

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(L2_cache_size=1234))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("device"))
    monkeypatch.setattr(clocks.torch, "empty", empty)
    clock = clock_for("cuda")
    assert isinstance(clock, CudaClock)
    assert allocated == {"size": 1234, "dtype": torch.int8, "device": "cuda"}
    assert clock.sample(lambda: log.append("run")) == pytest.approx(0.010)
    clock.synchronize()
    assert log == ["flush", "event", "run", "event", "wait", "device"]


def test_each_device_has_its_clock():
    assert isinstance(clock_for("cpu"), CpuClock)
