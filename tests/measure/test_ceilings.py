import gc
import weakref

import pytest
import torch

from kfc_bench.measure import ceilings
from kfc_bench.measure.ceilings import (
    ATTEMPTS,
    LEAST_S,
    MOST_S,
    Ceilings,
    forget_ceilings,
    measured_ceilings,
    remeasured_ceilings,
)
from kfc_bench.measure.precision import set_precision

pytestmark = pytest.mark.usefixtures("restored_precision")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(ceilings, "PRODUCT_SIDE", {"cpu": 64, "cuda": 64})
    monkeypatch.setattr(ceilings, "CONVOLUTION", {"cpu": (2, 4, 8), "cuda": (2, 4, 8)})
    monkeypatch.setattr(ceilings, "MEMORY_SIDES", {"cpu": (256,), "cuda": (256,)})
    monkeypatch.setattr(ceilings, "CACHE_SIDES", {"cpu": (32, 64), "cuda": (32,)})
    forget_ceilings()
    yield
    forget_ceilings()


class Clock:
    """Takes so many seconds of a fake wall clock for each sample, and notes what was run."""

    launch_hidden = None

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, self.samples = 0.0, seconds, 0
        monkeypatch.setattr(ceilings.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(ceilings, "clock_for", lambda *_: self)

    def sample(self, _):
        self.now += self.seconds
        self.samples += 1
        return self.seconds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_ceilings_are_positive_and_measured_once(monkeypatch, dtype):
    monkeypatch.setattr(ceilings, "ATTEMPTS", 1)
    found = measured_ceilings("cpu", dtype, "hot")
    assert found.flops_per_s > 1e6
    assert found.bytes_per_s > 1e6
    assert measured_ceilings("cpu", dtype, "hot") is found


@pytest.mark.parametrize(
    ("seconds", "samples"),
    [(2 * MOST_S, 1), (MOST_S / 4, 4), (LEAST_S / 2, ATTEMPTS), (LEAST_S / 5, ATTEMPTS), (LEAST_S / 50, 50)],
)
def test_neither_short_nor_long_samples_draw_them_out(monkeypatch, seconds, samples):
    clock = Clock(monkeypatch, seconds)
    list(ceilings._rates("cpu", "hot", iter([(1.0, lambda: None)])))
    assert clock.samples == pytest.approx(samples, abs=1)


class Held:
    def __call__(self):
        return None


def test_no_operand_outlives_its_measurement(monkeypatch):
    fake, alive = Clock(monkeypatch, 2 * MOST_S), []

    class Remembering:
        def sample(self, run):
            self.run = run
            alive.append(weakref.ref(run))
            return fake.sample(run)

    monkeypatch.setattr(ceilings, "clock_for", lambda *_: Remembering())
    for _ in ceilings._rates("cpu", "hot", ((1.0, Held()) for _ in range(2))):
        gc.collect()
        assert [run() is None for run in alive] == [True] * (len(alive) - 1) + [False]


def test_the_best_sample_counts(monkeypatch):
    clock = Clock(monkeypatch, 0.1)
    durations = [3.0, 2.0, 4.0]

    def sample(_):
        clock.now += 0.2
        return durations.pop(0)

    monkeypatch.setattr(clock, "sample", sample)
    assert list(ceilings._rates("cpu", "hot", iter([(10.0, lambda: None)]))) == [5.0]


def measured_work(monkeypatch, cache):
    """List the names of the calls and their nominal work, in the order in which they are measured."""
    found = []

    def rates(_device, _cache, calls):
        for work, run in calls:
            found.append((getattr(run.func, "__name__", "copy_"), work))
            run()
            yield work

    monkeypatch.setattr(ceilings, "_rates", rates)
    result = remeasured_ceilings("cpu", torch.float32, cache)
    return found, result


def test_a_product_and_a_convolution_in_both_layouts_and_reads_of_every_size(monkeypatch):
    found, result = measured_work(monkeypatch, "hot")
    convolution = ("conv2d", 2 * 2 * 8 * 8 * 4 * 4 * 9)
    reads = [("mv", side**2 * 4) for side in (256, 32, 64)]
    assert found == [("mm", 2 * 64**3), convolution, convolution, *reads]
    assert result == Ceilings(2 * 64**3, 256**2 * 4)


def test_a_cold_cache_is_held_against_memory_alone(monkeypatch):
    found, _ = measured_work(monkeypatch, "cold")
    assert [name for name, _ in found] == ["mm", "conv2d", "conv2d", "mv"]


def test_the_precision_in_force_is_part_of_what_was_measured(monkeypatch):
    measured = []

    def measure(*key):
        measured.append(key)
        return Ceilings(1.0, 1.0)

    monkeypatch.setattr(ceilings, "_measure", measure)
    for precision in ("ieee", "tf32", "bf16", "ieee", "tf32"):
        set_precision(precision)
        for cache in ("cold", "hot"):
            measured_ceilings("cuda", torch.float32, cache)
        measured_ceilings("cpu", torch.float32, "hot")
    assert measured == [
        ("cuda", torch.float32, "cold"),
        ("cuda", torch.float32, "hot"),
        ("cpu", torch.float32, "hot"),
        ("cuda", torch.float32, "cold"),
        ("cuda", torch.float32, "hot"),
    ]


def test_measured_anew_the_best_of_both_stands(monkeypatch):
    series = iter([Ceilings(5.0, 1.0), Ceilings(4.0, 2.0)])
    monkeypatch.setattr(ceilings, "_measure", lambda *_: next(series))
    assert measured_ceilings("cpu", torch.float32, "hot") == Ceilings(5.0, 1.0)
    assert remeasured_ceilings("cpu", torch.float32, "hot") == Ceilings(5.0, 2.0)
    assert measured_ceilings("cpu", torch.float32, "hot") == Ceilings(5.0, 2.0)


def test_where_memory_is_short_the_old_ones_stand(monkeypatch):
    def short(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ceilings, "_measure", lambda *_: Ceilings(1.0, 1.0))
    found = measured_ceilings("cpu", torch.float32, "hot")
    monkeypatch.setattr(ceilings, "_measure", short)
    assert remeasured_ceilings("cpu", torch.float32, "hot") is found
    with pytest.raises(torch.OutOfMemoryError):
        remeasured_ceilings("cpu", torch.float64, "hot")


def test_the_floor_is_the_slower_of_the_two():
    roof = Ceilings(flops_per_s=10.0, bytes_per_s=2.0)
    assert roof.least_seconds(100, 2) == 10
    assert roof.least_seconds(10, 8) == 4
