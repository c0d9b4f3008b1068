"""What the GPU says of itself: clock, temperature, power, why it runs slower, energy so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pynvml
import torch

REASONS = {
    pynvml.nvmlClocksEventReasonGpuIdle: "idle",
    pynvml.nvmlClocksEventReasonApplicationsClocksSetting: "application clocks",
    pynvml.nvmlClocksEventReasonSwPowerCap: "power cap",
    pynvml.nvmlClocksEventReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSyncBoost: "sync boost",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "software thermal slowdown",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "hardware thermal slowdown",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power brake",
    pynvml.nvmlClocksEventReasonDisplayClockSetting: "display clocks",
}
"""NVML's reasons for a clock below its maximum, by bit."""


@dataclass(frozen=True)
class Reading:
    """One look at the device; None is what it does not tell.

    Attributes:
        sm_clock_mhz: Clock of the multiprocessors.
        max_sm_clock_mhz: The highest that clock goes.
        temperature_c: Of the GPU's die.
        power_w: Of the whole board, which NVML averages over a while: up to a second on some GPUs.
        reasons: Names of what holds the clock down, out of `REASONS`; empty if nothing does.
    """

    sm_clock_mhz: float | None = None
    max_sm_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    reasons: frozenset[str] | None = None


class Telemetry(Protocol):
    """Reads a device's sensors."""

    def read(self) -> Reading:
        """Read all but the energy."""

    def energy_j(self) -> float | None:
        """Return the joules drawn since some fixed time; None where no counter counts them."""


class NoTelemetry:
    """Stands for a device without sensors: the CPU, or a GPU that NVML does not know."""

    def read(self) -> Reading:
        """Return an empty reading."""
        return Reading()

    def energy_j(self) -> float | None:
        """Return None."""
        return None


def ask(question: Callable[..., Any], *arguments: Any) -> Any:
    """Return NVML's answer; None where it has none (a slice of a GPU, a virtual one, missing rights, an old driver)."""
    try:
        return question(*arguments)
    except pynvml.NVMLError:
        return None


def _scaled(value: int | None, unit: float) -> float | None:
    return None if value is None else value * unit


_REASON_QUESTIONS = [
    getattr(pynvml, name)
    for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
    if hasattr(pynvml, name)
]
"""The second is the name that old drivers know and that newer packages will drop."""


class NvmlTelemetry:
    """Sensors as NVML reads them.

    Args:
        handle: NVML's handle of the device.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def read(self) -> Reading:
        """Read all but the energy; what NVML does not tell is None."""
        handle = self._handle
        answers = (ask(question, handle) for question in _REASON_QUESTIONS)
        bits = next((answer for answer in answers if answer is not None), None)
        return Reading(
            sm_clock_mhz=_scaled(ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM), 1.0),
            max_sm_clock_mhz=_scaled(ask(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM), 1.0),
            temperature_c=_scaled(ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU), 1.0),
            power_w=_scaled(ask(pynvml.nvmlDeviceGetPowerUsage, handle), 1e-3),
            reasons=None if bits is None else frozenset(name for bit, name in REASONS.items() if bits & bit),
        )

    def energy_j(self) -> float | None:
        """Return the joules since the driver was loaded; None before Volta, and on slices of a GPU."""
        return _scaled(ask(pynvml.nvmlDeviceGetTotalEnergyConsumption, self._handle), 1e-3)


def nvml_handle() -> Any | None:
    """Find the current CUDA device in NVML, which numbers devices its own way, by its UUID.

    Returns:
        The handle, NVML being initialized; None if NVML is absent or does not know the device (AMD's, say).
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
    handles = (ask(pynvml.nvmlDeviceGetHandleByUUID, f"{kind}-{uuid}") for kind in ("GPU", "MIG"))
    return next((handle for handle in handles if handle is not None), None)


def telemetry_for(device: str) -> Telemetry:
    """Return the telemetry of ``"cpu"`` or of the current ``"cuda"`` device."""
    handle = nvml_handle() if device == "cuda" else None
    return NoTelemetry() if handle is None else NvmlTelemetry(handle)
