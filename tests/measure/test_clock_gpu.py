"""The clock, the sensors and the ceilings on a real GPU."""

import pytest
import torch

from kfc_bench.measure.ceilings import forget_ceilings, measured_ceilings
from kfc_bench.measure.clock import clock_for
from kfc_bench.measure.datasheet import datasheet
from kfc_bench.measure.energy import joules_per_call
from kfc_bench.measure.precision import set_precision
from kfc_bench.measure.telemetry import NoTelemetry, telemetry_for

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]
CYCLES = 2_000_000


def spin():
    torch.cuda._sleep(CYCLES)


@pytest.mark.parametrize("cache", ["cold", "hot"])
def test_two_kernels_take_twice_as_long_as_one(cache):
    clock = clock_for("cuda", cache)
    once = min(clock.sample(spin) for _ in range(10))
    twice = min(clock.sample(lambda: (spin(), spin())) for _ in range(10))
    assert 2e-4 < once < 4e-3
    assert twice == pytest.approx(2 * once, rel=0.1)
    assert clock.launch_hidden


def test_launch_latency_of_many_small_kernels_is_hidden_and_that_of_a_waiting_call_is_not():
    clock = clock_for("cuda", "hot")
    value = torch.ones(1, device="cuda")

    def many():
        for _ in range(200):
            value.add_(1.0)

    assert min(clock.sample(many) for _ in range(10)) < 200 * 5e-6
    assert clock.launch_hidden
    clock.sample(value.item)
    assert not clock.launch_hidden


def test_a_flushed_cache_is_slower_to_read():
    size = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size // 4
    data = torch.ones(size // 4, device="cuda")
    cold, hot = (min(clock_for("cuda", cache).sample(data.sum) for _ in range(20)) for cache in ("cold", "hot"))
    assert hot < cold


def test_sensors_answer():
    sensors = telemetry_for("cuda")
    if isinstance(sensors, NoTelemetry):
        pytest.skip("NVML does not know this device")
    reading = sensors.read()
    assert reading.temperature_c is None or 0 < reading.temperature_c < 120
    assert reading.sm_clock_mhz is None or 100 < reading.sm_clock_mhz <= reading.max_sm_clock_mhz
    if sensors.energy_j() is None:
        pytest.skip("no energy counter")
    joules = joules_per_call(spin, sensors, torch.cuda.synchronize)
    assert 1e-3 < joules < 5


def test_ceilings_are_near_the_datasheet():
    sheet = datasheet(torch.cuda.get_device_name())
    if sheet is None:
        pytest.skip("no data sheet for this device")
    forget_ceilings()
    set_precision("bf16")
    found = measured_ceilings("cuda", torch.bfloat16, "cold")
    figures = sheet.described()
    assert 0.4 < found.flops_per_s / figures["flops_per_s"].get("bf16", found.flops_per_s) < 1.1
    assert 0.6 < found.bytes_per_s / figures["bytes_per_s"] < 1.05
