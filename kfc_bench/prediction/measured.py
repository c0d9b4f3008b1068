"""Times that were measured already: of a whole step, or of one layer's part in one."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kfc_bench.experiments.profile.layers import Module
from kfc_bench.prediction.replay import Step
from kfc_bench.prediction.samples import measured_steps, periods_of, step_of
from kfc_bench.results.frames import Results

GEOMETRY = ("in_channels", "out_channels", "size", "kernel", "stride", "padding", "dilation", "groups", "bias")
LAYER = ("kind", "in_elements", "out_elements", "parameters", *GEOMETRY)

OF_THE_NETWORK = ("forward", "backward", "sampled backward", "clip")
"""Phases in which all approximations do the same; in the others unlike things may have one name."""


@dataclass(frozen=True)
class WholeStep:
    """A measured step, in seconds, with the interval of its median."""

    seconds: float
    low: float
    high: float


class Measured:
    """What was measured on one device; a profile's parts are scaled so that they add up to its unwatched step.

    Args:
        results: Profiles.
        device: The device's name, as in an environment record.
        without: Networks that do not count.
    """

    def __init__(self, results: Results, device: str, without: frozenset[str] = frozenset()) -> None:
        rows = measured_steps(results)
        rows = rows[(rows["device_name"] == device) & ~rows["network"].isin(without)]
        self._steps: dict[Any, WholeStep] = {}
        times: dict[Any, list[float]] = defaultdict(list)
        parts = dict(list(results.profile.groupby(["run_id", "case_id"], sort=False))) if len(rows) else {}
        for row in rows.to_dict("records"):
            step = step_of(row)
            median, *ends = (float(row[name]) for name in ("step_s", "step_ci_low_s", "step_ci_high_s"))
            low, high = (median if pd.isna(end) else end for end in ends)
            place = (str(row["network"]), str(row["input"]), step.approximation, step.batch, step.clip)
            self._steps[(*place, *periods_of(row))] = WholeStep(median, low, high)
            for part in parts[row["run_id"], row["case_id"]].to_dict("records"):
                if part["layer"] and part["kind"] and not part["shared"]:
                    times[self._key(step, part["phase"], part)].append(part["call_s"] / row["parts_share"])
        self._parts = {key: statistics.median(values) for key, values in times.items()}

    @staticmethod
    def _key(step: Step, phase: str, layer: Mapping[Any, Any]) -> tuple[Any, ...]:
        whose = "" if phase in OF_THE_NETWORK else step.approximation
        described = (layer.get(name) for name in LAYER)
        words = ("" if value is None or pd.isna(value) else str(value) for value in described)
        return step.batch, step.channels_last, phase, whose, *(word.removesuffix(".0") for word in words)

    def step(
        self, network: str, shape: str, step: Step, statistics_every: int, inverses_every: int
    ) -> WholeStep | None:
        """Return the time of this very step; None where it was not measured.

        Of a network that was imported nothing but the name is known, and it may have changed since.
        """
        if ":" in network:
            return None
        periods = (1, 1) if step.approximation == "sgd" else (statistics_every, inverses_every)
        return self._steps.get((network, shape, step.approximation, step.batch, step.clip, *periods))

    def part(self, step: Step, phase: str, module: Module | None) -> float | None:
        """Return the seconds of a phase of a layer like this one, in any network; None where there was none."""
        return None if module is None else self._parts.get(self._key(step, phase, module.columns()))
