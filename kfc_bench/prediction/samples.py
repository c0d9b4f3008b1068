"""Measured steps beside what they do: what rates are fitted to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kfc_bench.prediction.amounts import UNITS, by_part
from kfc_bench.prediction.rates import Timed
from kfc_bench.prediction.replay import Replay, Step, replay
from kfc_bench.problems.named import find_network
from kfc_bench.results.frames import Results

CHANNELS_LAST = "channels_last"


@dataclass(frozen=True)
class Sample:
    """A step that was profiled.

    Attributes:
        device: Where, as the environment record calls it.
        network: Its name.
        input: Shape of one example, ``3x32x32``.
        step: What was measured.
        statistics_every: T_s.
        inverses_every: T_f.
        seconds: Of a step, nobody watching.
        peak_bytes: As the profile has it, what the step held at its peak of what it had allocated itself.
        replayed_bytes: The same as predicted.
        parts: Its parts.
    """

    device: str
    network: str
    input: str
    step: Step
    statistics_every: int
    inverses_every: int
    seconds: float
    peak_bytes: int
    replayed_bytes: int
    parts: list[Timed]


def shape_of(text: str) -> tuple[int, ...]:
    """Read ``3x32x32``."""
    return tuple(map(int, text.split("x")))


def measured_steps(results: Results) -> pd.DataFrame:
    """Return the profiled steps of float32 in full precision and of one sampled vector, with the device's name."""
    steps = results.profiles
    steps = steps[(steps["status"] == "ok") & (steps["dtype"] == "float32") & (steps["precision"] == "ieee")]
    steps = steps[steps["fisher"].isna() | (steps["fisher"] == "mc")]
    names = {env_id: environment["device"] for env_id, environment in results.environments.items()}
    return steps.assign(device_name=steps["env_id"].map(names))


def step_of(row: Mapping[Hashable, Any]) -> Step:
    """Return what a row of `measured_steps` is about."""
    clip = pd.to_numeric(row["clip"])
    return Step(
        str(row["approximation"]),
        int(row["batch"]),
        float(clip) if clip > 0 else None,
        channels_last=row["layout"] == CHANNELS_LAST,
    )


def periods_of(row: Mapping[Hashable, Any]) -> tuple[int, int]:
    """Return T_s and T_f; 1 of SGD, which has neither."""
    every = [pd.to_numeric(row[name]) for name in ("statistics_every", "inverses_every")]
    statistics, inverses = (int(value) if value > 0 else 1 for value in every)
    return statistics, inverses


def samples(results: Results, told: Callable[[str], None]) -> Iterator[Sample]:
    """Go through every profiled step once more, without numbers.

    Its parts are scaled so that they add up to the step that nobody watched: marks weigh on one of a millisecond.

    Args:
        results: What was measured.
        told: Is told which step is gone through.

    Yields:
        One sample a step.
    """
    steps = measured_steps(results)
    key = ["run_id", "case_id"]
    parts = dict(list(results.profile.groupby(key, sort=False)))
    for row in steps.to_dict("records"):
        step, (statistics, inverses) = step_of(row), periods_of(row)
        told(f"{row['network']}, batch {step.batch}, {step.approximation}")
        gone = replay(find_network(str(row["network"]), shape_of(str(row["input"]))), step)
        seconds = float(row["step_s"])
        yield Sample(
            str(row["device_name"]),
            str(row["network"]),
            str(row["input"]),
            step,
            statistics,
            inverses,
            seconds,
            int(row["peak_memory_bytes"]),
            gone.step_bytes,
            list(_parts(parts[row["run_id"], row["case_id"]], gone, statistics, inverses, seconds)),
        )


def _parts(rows: pd.DataFrame, gone: Replay, statistics: int, inverses: int, seconds: float) -> Iterator[Timed]:
    """Join measured parts with what they do; a phase one of whose calls served several layers is one part."""
    together = set(rows.loc[rows["shared"].astype(bool), "phase"])
    counts = by_part(gone)
    together |= {phase for phase, layer in counts if not isinstance(layer, str)}

    def key(phase: str, layer: object) -> tuple[str, str]:
        return phase, "" if phase in together or not isinstance(layer, str) else layer

    does: dict[tuple[str, str], Any] = {}
    for (phase, layer), often in counts.items():
        place = key(phase, layer)
        does[place] = does.get(place, np.zeros(len(UNITS))) + often.per_step(statistics, inverses)
    scale = seconds / float(rows["per_step_s"].sum())
    times: dict[tuple[str, str], float] = {}
    for row in rows.to_dict("records"):
        place = key(row["phase"], row["layer"])
        times[place] = times.get(place, 0.0) + scale * float(row["per_step_s"])
    for place, amount in does.items():
        time = times.get(place, 0.0)
        if time > 0 and amount.any():
            yield Timed(amount, time, min(1.0, time / seconds))
