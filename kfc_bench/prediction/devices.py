"""The device that is asked about: the one here, one that records name, or a GPU with a data sheet."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from kfc_bench.errors import UserError
from kfc_bench.measure.datasheet import DATASHEETS, datasheet
from kfc_bench.measure.environment import environment, resolve_device
from kfc_bench.measure.memory import available_bytes
from kfc_bench.prediction.model import DeviceModel, of_ceilings, of_datasheet

HERE = ("auto", "cpu", "cuda")

FREE_SHARE = 0.9
"""Of a GPU's memory, beside torch's own context and what fragments."""


@dataclass(frozen=True)
class Device:
    """A device that steps are predicted for.

    Attributes:
        model: Its rates.
        kind: ``"cpu"`` or ``"cuda"``.
        free_bytes: Memory free on it; None where that is not known.
    """

    model: DeviceModel
    kind: str
    free_bytes: int | None


def find_device(name: str, models: Mapping[str, DeviceModel]) -> Device:
    """Find what is known of a device.

    Args:
        name: ``"cpu"`` or ``"cuda"`` for the one here, ``"auto"`` for CUDA's if there is one; a name that fitted rates
            are of; or a GPU's, such as ``H100``.
        models: Fitted rates by device.

    Returns:
        The device.

    Raises:
        UserError: It is none of these, or not here.
    """
    if name in HERE:
        kind = resolve_device(name)
        full = str(environment(kind)["device"])
        return Device(models.get(full) or of_ceilings(kind, full), kind, available_bytes(kind))
    if name in models and datasheet(name) is None:
        here = environment("cpu")["device"] == name
        return Device(models[name], "cpu", available_bytes("cpu") if here else None)
    called = [sheet for _, sheet in DATASHEETS if re.match(rf"{re.escape(name)}(\s|$)", sheet.product)]
    # Of several boards, the one in a server's socket.
    sheet = datasheet(name) or next(iter(sorted(called, key=lambda sheet: "SXM" not in sheet.product)), None)
    if sheet is None:
        products = [sheet.product for _, sheet in DATASHEETS]
        near = difflib.get_close_matches(name, [*products, *models], n=1, cutoff=0.3)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UserError(
            f"device {name!r} is not auto, cpu, cuda, a GPU with a data sheet, or one with fitted rates{hint}"
        )
    fitted = next((model for device, model in models.items() if datasheet(device) == sheet), None)
    return Device(fitted or of_datasheet(sheet), "cuda", round(FREE_SHARE * 1e9 * sheet.gigabytes))
