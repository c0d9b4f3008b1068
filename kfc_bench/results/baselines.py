"""Medians of earlier commits, kept by the comparison's name and the model of the device they were measured on."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
NEWEST = 10
"""So many baselines, newest last, are compared with."""


@dataclass(frozen=True)
class Baseline:
    """What one commit took on one model.

    Attributes:
        commit: Its hash.
        measured: When, ISO 8601 in UTC.
        model: The GPU's name, or the processor's.
        machine: Where: ``device``, ``driver``, ``torch``, ``python``.
        medians: Seconds by benchmark's node id: the median over sessions of each session's median.
        schema: Version of this form.
    """

    commit: str
    measured: str
    model: str
    machine: Mapping[str, Any]
    medians: Mapping[str, float]
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Return what its file holds."""
        return json.dumps(asdict(self), indent=1) + "\n"


def model_of(machine: Mapping[str, Any]) -> str:
    """Name the GPU's model, or the processor's where there is no GPU, from pytest-benchmark's ``machine_info``."""
    gpu, cpu = machine.get("gpu") or {}, machine.get("cpu") or {}
    return str(gpu.get("name") or cpu.get("brand_raw") or machine.get("processor") or machine.get("machine"))


def baseline_path(folder: Path, name: str, model: str, commit: str) -> Path:
    """Return where a baseline lies: neither two comparisons' nor two models' share a folder."""
    return folder / _slug(name) / _slug(model) / f"{commit}.json"


def _slug(text: str) -> str:
    return re.sub(r"[\W_]+", "-", text.lower()).strip("-") or "unknown"


def read_baselines(folder: Path, name: str, model: str, without: str) -> list[Baseline]:
    """Read the newest baselines of a comparison on a model.

    Args:
        folder: Where baselines are kept; it need not exist.
        name: The comparison's, as ``--name`` gives it.
        model: The model.
        without: A commit that is left out: the one to be compared with them.

    Returns:
        At most `NEWEST`, oldest first. A file that cannot be read is left out with a warning.
    """
    found = []
    for path in sorted(baseline_path(folder, name, model, "any").parent.glob("*.json")):
        try:
            baseline = Baseline(**json.loads(path.read_bytes()))
            readable = baseline.schema == SCHEMA and all(float(median) > 0 for median in baseline.medians.values())
        except (OSError, ValueError, TypeError, AttributeError):
            readable = False
        if not readable:
            warnings.warn(f"{path} is no baseline of this version and is left out", stacklevel=2)
        elif baseline.model == model and baseline.commit != without:
            found.append(baseline)
    return sorted(found, key=lambda baseline: baseline.measured)[-NEWEST:]
