"""What is known of a device: fitted rates and how far they were off, or what its data sheet lets one assume."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kfc_bench.errors import UserError
from kfc_bench.measure.ceilings import measured_ceilings
from kfc_bench.measure.datasheet import Datasheet
from kfc_bench.prediction.amounts import UNITS
from kfc_bench.prediction.rates import Rates, assumed, fitted
from kfc_bench.prediction.samples import Sample

RATES_FILE = "rates.json"

INSIDE = 0.8
"""Of steps that were left out while rates were fitted, so many lay within the interval."""

UNMEASURED = math.log(3)
"""Natural logarithm of the factor by which assumed rates may be off: a guess, never held to a measurement."""

CALLS = {"cpu": 1e-5, "cuda": 1e-5}
SHARE = 0.5
"""Seconds of a call of torch, and what operations reach of a device's best rates, where nothing was measured."""


@dataclass(frozen=True)
class DeviceModel:
    """Rates of one device, and how far to trust them.

    Attributes:
        device: As an environment record calls it, or a GPU's name.
        rates: Seconds of each unit of work.
        errors: By network, natural logarithms of predicted over measured steps, the network left out of the fit.
        channels_last: The memory format in which most measured steps were fastest.
        source: Where the rates come from, in words.
    """

    device: str
    rates: Rates
    errors: dict[str, list[float]]
    channels_last: bool
    source: str

    @property
    def is_fitted(self) -> bool:
        """Whether anything was measured on the device."""
        return bool(self.errors)

    def interval(self) -> tuple[float, float]:
        """Return what a predicted time is multiplied with for the ends of its interval."""
        if not self.is_fitted:
            return math.exp(-UNMEASURED), math.exp(UNMEASURED)
        # Measured over predicted; networks count alike, however many steps each has.
        errors = [-error for own in self.errors.values() for error in own]
        weights = [1 / len(own) for own in self.errors.values() for _ in own]
        low, high = (_quantile(errors, weights, end) for end in ((1 - INSIDE) / 2, (1 + INSIDE) / 2))
        return math.exp(min(low, 0.0)), math.exp(max(high, 0.0))

    def described(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "device": self.device,
            "source": self.source,
            "channels_last": self.channels_last,
            "seconds": {f"{kind} {unit}": self.rates.seconds[kind, unit] for kind, unit in UNITS},
            "log_errors": self.errors,
        }


def _quantile(values: Sequence[float], weights: Sequence[float], level: float) -> float:
    order = np.argsort(values)
    below = np.cumsum(np.array(weights)[order])
    place = int(np.searchsorted(below, level * below[-1]))
    return float(np.array(values)[order][min(place, len(values) - 1)])


def fit(samples: Sequence[Sample], prior: Rates, source: str) -> DeviceModel:
    """Fit a device's rates, and find how far they are off for a network that they know nothing of.

    Args:
        samples: Measured steps of one device, of two networks at least.
        prior: Rates of operations that no step has.
        source: Where the samples come from.

    Returns:
        The model.

    Raises:
        UserError: There are fewer than two networks.
    """
    networks = list(dict.fromkeys(sample.network for sample in samples))
    if len(networks) < 2:
        raise UserError(
            f"{source}: profiles of two networks at least are needed, so that each is predicted from others"
        )
    errors = {}
    for network in networks:
        rates = fitted([part for sample in samples if sample.network != network for part in sample.parts], prior)
        errors[network] = [
            round(math.log(sum(rates.of(part.amounts) for part in sample.parts) / sample.seconds), 4)
            for sample in samples
            if sample.network == network
        ]
    last = sum(sample.step.channels_last for sample in samples)
    return DeviceModel(
        samples[0].device,
        fitted([part for sample in samples for part in sample.parts], prior),
        errors,
        2 * last > len(samples),
        source,
    )


def read_models(folder: Path) -> dict[str, DeviceModel]:
    """Read every file of rates below a folder.

    Args:
        folder: Of results.

    Returns:
        Models by device.

    Raises:
        UserError: A file cannot be read.
    """
    found = {}
    for path in sorted(folder.rglob(RATES_FILE)):
        try:
            values = json.loads(path.read_text())
            seconds = {(kind, unit): float(values["seconds"][f"{kind} {unit}"]) for kind, unit in UNITS}
            model = DeviceModel(
                values["device"], Rates(seconds), values["log_errors"], values["channels_last"], values["source"]
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: no file of rates: {type(error).__name__}: {error}; write it with --fit") from None
        found[model.device] = model
    return found


def of_ceilings(device: str, name: str) -> DeviceModel:
    """Assume rates from what this device reaches at its best, measured now.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        name: Of the device.

    Returns:
        The model, which was never held to a measurement.
    """
    ceilings = measured_ceilings(device, torch.float32, "hot" if device == "cpu" else "cold")
    rates = assumed(ceilings.flops_per_s, ceilings.bytes_per_s, CALLS[device], SHARE)
    return DeviceModel(name, rates, {}, True, f"{100 * SHARE:.0f} % of the ceilings measured now")


def of_datasheet(sheet: Datasheet) -> DeviceModel:
    """Assume rates from a GPU's data sheet.

    Args:
        sheet: Its figures.

    Returns:
        The model, which was never held to a measurement.
    """
    rates = assumed(1e12 * sheet.teraflops["ieee"], 1e9 * sheet.gigabytes_per_s, CALLS["cuda"], SHARE)
    return DeviceModel(sheet.product, rates, {}, True, f"{100 * SHARE:.0f} % of the data sheet's rates")
