from types import SimpleNamespace

import pytest
import torch

from kfc_bench.measure import clock as clocks
from kfc_bench.measure import stream as streams
from kfc_bench.measure.clock import (
    LONGEST_HOLD,
    SHORTEST_HOLD,
    SHORTEST_SAMPLE_S,
    Cache,
    CpuClock,
    CudaClock,
    clock_for,
)
from tests.measure.fakes import CYCLES_PER_S, FakeStream

CACHES: tuple[Cache, ...] = ("cold", "hot")
every_cache = pytest.mark.parametrize("cache", CACHES)


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
    clock = CpuClock()
    assert 0 < clock.sample(lambda: sum(range(100))) < 0.1
    clock.synchronize()
    assert clock.launch_hidden is None


def kernels(stream, count, seconds):
    def run():
        for _ in range(count):
            stream.kernel(seconds)

    return run


@every_cache
@pytest.mark.parametrize("count", [1, 10, 100, 400])
def test_launch_latency_is_not_in_a_sample(cache, count):
    stream = FakeStream(launch_s=5e-6)
    clock, run = CudaClock(cache, stream), kernels(stream, count, 1e-6)
    assert [clock.sample(run) for _ in range(3)] == pytest.approx([count * 1e-6] * 3)
    assert clock.launch_hidden


@every_cache
def test_the_host_counts_where_it_is_asked_to(cache):
    stream = FakeStream(launch_s=5e-6)
    clock, run = CudaClock(cache, stream, held=False), kernels(stream, 100, 1e-6)
    assert clock.sample(run) > 90 * stream.launch_s
    assert stream.holds == []
    assert not clock.launch_hidden


@every_cache
def test_the_hold_grows_to_what_a_call_needs_and_stays(cache):
    stream = FakeStream(launch_s=5e-6)
    clock, run = CudaClock(cache, stream), kernels(stream, 300, 1e-6)
    clock.sample(run)
    grown = stream.holds[-1]
    assert stream.holds == [SHORTEST_HOLD * 2**index for index in range(len(stream.holds))]
    assert grown / CYCLES_PER_S > 300 * stream.launch_s
    stream.holds.clear()
    clock.sample(run)
    assert stream.holds == [grown]
    clock.sample(kernels(stream, 1, 1e-6))
    assert stream.holds == [grown, SHORTEST_HOLD]


def waiting(stream):
    stream.kernel(1e-6)
    stream.synchronize()
    stream.kernel(1e-6)


def too_many(stream):
    kernels(stream, 2 * stream.queue, 1e-6)()


@every_cache
@pytest.mark.parametrize("workload", [waiting, too_many])
def test_a_call_that_outlasts_every_hold_is_timed_without_and_flagged(cache, workload):
    stream = FakeStream()
    clock = CudaClock(cache, stream)
    seconds = clock.sample(kernels(stream, 1, 1e-6))
    assert seconds == pytest.approx(1e-6)
    assert clock.launch_hidden

    def run():
        workload(stream)

    seconds = clock.sample(run)
    assert not clock.launch_hidden
    assert seconds > 2e-6
    assert stream.holds[1:] == [SHORTEST_HOLD * 2**index for index in range(9)]
    assert stream.holds[-1] == LONGEST_HOLD
    stream.holds.clear()
    assert clock.sample(run) == pytest.approx(seconds)
    assert stream.holds == []


def test_a_hiccup_of_the_host_costs_a_retry_and_no_flag():
    stream = FakeStream()
    clock, hiccups = CudaClock("cold", stream), [2e-3, 0.0]

    def run():
        stream.host += hiccups.pop(0) if hiccups else 0.0
        stream.kernel(1e-6)

    assert clock.sample(run) == pytest.approx(1e-6)
    assert clock.launch_hidden
    assert stream.holds == [SHORTEST_HOLD, 2 * SHORTEST_HOLD]


def test_cold_samples_flush_between_the_hold_and_the_first_event():
    stream = FakeStream(flush_s=1.0)
    seconds = CudaClock("cold", stream).sample(lambda: stream.kernel(1e-6, "run"))
    assert seconds == pytest.approx(1e-6)
    assert stream.log == ["hold", "event", "flush", "event", "run", "event"]


def test_hot_samples_follow_an_untimed_call_and_flush_nothing():
    stream = FakeStream()
    durations = [1e-3, 1e-6]
    seconds = CudaClock("hot", stream).sample(lambda: stream.kernel(durations.pop(0), "run"))
    assert seconds == pytest.approx(1e-6)
    assert stream.log == ["hold", "event", "run", "event", "run", "event"]


@pytest.fixture
def fake_torch(monkeypatch):
    """Stand in for torch.cuda, and note what it is asked."""
    log = []

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self):
            log.append("event")

    def empty(size, **options):
        log.append(("empty", size, *options.values()))
        return SimpleNamespace(zero_=lambda: log.append(("zero", size)))

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(L2_cache_size=1000 + index))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: log.append(("sleep", cycles)))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("wait"))
    monkeypatch.setattr(streams.torch, "empty", empty)
    return log


def test_torch_has_what_the_stream_asks_of_it():
    assert callable(torch.cuda._sleep)


def test_the_flush_is_exactly_as_large_as_the_l2_cache(fake_torch):
    clock_for("cuda", "hot")
    assert fake_torch == [("empty", 0, torch.int8, "cuda")]
    fake_torch.clear()
    clock = clock_for("cuda", "cold")
    assert isinstance(clock, CudaClock)
    stream = clock._stream
    stream.hold(7)
    stream.flush()
    stream.mark()
    clock.synchronize()
    assert fake_torch == [("empty", 1003, torch.int8, "cuda"), ("sleep", 7), ("zero", 1003), "event", "wait"]


def test_each_device_has_its_clock():
    assert isinstance(clock_for("cpu"), CpuClock)
    with pytest.raises(ValueError, match="keeps caches hot"):
        clock_for("cpu", "cold")
