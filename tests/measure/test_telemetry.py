from types import SimpleNamespace

import pynvml
import pytest
import torch

from kfc_bench.measure import telemetry
from kfc_bench.measure.telemetry import NoTelemetry, NvmlTelemetry, Reading, telemetry_for

UUID = "00112233-4455-6677-8899-aabbccddeeff"
HANDLE = object()


def not_supported(*_):
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture
def nvml(monkeypatch):
    """An NVML with one GPU; returns a way to replace its answers."""

    def answer(**answers):
        for name, value in answers.items():
            monkeypatch.setattr(pynvml, name, value if callable(value) else lambda *_, value=value: value)

    def by_uuid(uuid):
        if uuid != f"GPU-{UUID}":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return HANDLE

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid=UUID))
    monkeypatch.setattr(telemetry, "_REASON_QUESTIONS", [lambda _: 0x4 | 0x40 | 0x4000])
    answer(
        nvmlInit=None,
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetClockInfo=lambda _, kind: {pynvml.NVML_CLOCK_SM: 1410}[kind],
        nvmlDeviceGetMaxClockInfo=lambda _, kind: {pynvml.NVML_CLOCK_SM: 1980}[kind],
        nvmlDeviceGetTemperature=lambda _, sensor: {pynvml.NVML_TEMPERATURE_GPU: 61}[sensor],
        nvmlDeviceGetPowerUsage=512_345,
        nvmlDeviceGetTotalEnergyConsumption=7_500,
    )
    return answer


@pytest.mark.usefixtures("nvml")
def test_a_reading_in_plain_units():
    sensors = telemetry_for("cuda")
    assert sensors.read() == Reading(
        1410.0, 1980.0, 61.0, pytest.approx(512.345), frozenset({"power cap", "hardware thermal slowdown"})
    )
    assert sensors.energy_j() == pytest.approx(7.5)


def test_what_nvml_does_not_tell_is_none(nvml, monkeypatch):
    monkeypatch.setattr(telemetry, "_REASON_QUESTIONS", [not_supported, not_supported])
    nvml(
        nvmlDeviceGetClockInfo=not_supported,
        nvmlDeviceGetMaxClockInfo=not_supported,
        nvmlDeviceGetTemperature=not_supported,
        nvmlDeviceGetPowerUsage=not_supported,
        nvmlDeviceGetTotalEnergyConsumption=not_supported,
    )
    sensors = telemetry_for("cuda")
    assert sensors.read() == Reading()
    assert sensors.energy_j() is None


@pytest.mark.parametrize("bits", [0, 0x20])
@pytest.mark.usefixtures("nvml")
def test_old_drivers_know_the_reasons_by_another_name(monkeypatch, bits):
    def unknown(_):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)

    monkeypatch.setattr(telemetry, "_REASON_QUESTIONS", [unknown, lambda _: bits])
    assert telemetry_for("cuda").read().reasons == ({"software thermal slowdown"} if bits else set())


def test_the_package_has_every_question():
    names = {question.__name__ for question in telemetry._REASON_QUESTIONS}
    assert "nvmlDeviceGetCurrentClocksEventReasons" in names
    assert sorted(telemetry.REASONS) == [2**bit for bit in range(9)]


def test_a_slice_of_a_gpu_is_found_too(nvml):
    def by_uuid(uuid):
        return HANDLE if uuid == f"MIG-{UUID}" else not_supported()

    nvml(nvmlDeviceGetHandleByUUID=by_uuid)
    assert isinstance(telemetry_for("cuda"), NvmlTelemetry)


@pytest.mark.parametrize("missing", ["nvmlInit", "nvmlDeviceGetHandleByUUID"])
def test_a_gpu_that_nvml_does_not_know(nvml, missing):
    nvml(**{missing: not_supported})
    assert isinstance(telemetry_for("cuda"), NoTelemetry)


def test_the_cpu_has_no_sensors():
    sensors = telemetry_for("cpu")
    assert sensors.read() == Reading()
    assert sensors.energy_j() is None
