"""From the times of spans to the rows of a profile."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfc_bench.experiments.profile.case import Kind
from kfc_bench.experiments.profile.layers import Module, Works, shares
from kfc_bench.measure.span_memory import SpanBytes
from kfc_bench.spans import OTHER, Key

Part = tuple[str, str]
"""A phase and a layer's name."""


@dataclass(frozen=True)
class Visit:
    """What one visit found, by kind of step.

    Attributes:
        steps: Seconds of a step that nobody watched.
        spans: Seconds by key of one whose spans were timed, `OTHER` among them.
    """

    steps: Mapping[Kind, float]
    spans: Mapping[Kind, Mapping[Key, float]]


def by_layer(values: Mapping[Key, float], works: Works) -> dict[Part, float]:
    """Divide what one call had for several layers, and leave out what no span holds.

    Args:
        values: By key.
        works: Counted work, by which it is divided.

    Returns:
        By phase and layer.
    """
    found: dict[Part, float] = {}
    for (phase, layers), value in values.items():
        if (phase, layers) == OTHER:
            continue
        parts = {layers: 1.0} if isinstance(layers, str) else shares(phase, layers, works)
        for name, share in parts.items():
            found[phase, name] = found.get((phase, name), 0.0) + value * share
    return found


def amortised(visit: Visit, weights: Mapping[Kind, float], works: Works) -> dict[Part, float]:
    """Return the seconds of each phase and layer in the mean step of a cycle.

    Args:
        visit: The visit.
        weights: Each kind's share of a cycle.
        works: As in `by_layer`.

    Returns:
        Seconds by phase and layer.
    """
    found: dict[Part, float] = {}
    for kind, spans in visit.spans.items():
        for part, value in by_layer(spans, works).items():
            found[part] = found.get(part, 0.0) + weights[kind] * value
    return found


def rows(
    visits: Sequence[Visit],
    weights: Mapping[Kind, float],
    works: Works,
    modules: Mapping[str, Module],
    memory: Mapping[Key, SpanBytes],
) -> list[dict[str, Any]]:
    """Make one row of each phase and layer, medians over visits.

    Args:
        visits: The visits.
        weights: Each kind's share of a cycle.
        works: As in `by_layer`.
        modules: The network's, by name.
        memory: By key.

    Returns:
        Rows, by phase in the order of a step, of the columns `kfc_bench.results.schema.PART_COLUMNS`; those that do
        not hold are left out.
    """
    per_visit = [amortised(visit, weights, works) for visit in visits]
    order = dict.fromkeys(part for visit in visits for spans in visit.spans.values() for part in by_layer(spans, works))
    phases = list(dict.fromkeys(phase for phase, _ in order))
    peaks, held = _bytes(memory, works)
    calls = {key for visit in visits for spans in visit.spans.values() for key in spans}
    shared = {(phase, name) for phase, layers in calls if isinstance(layers, tuple) for name in layers if layers[1:]}
    found = []
    for phase, layer in sorted(order, key=lambda part: phases.index(part[0])):
        seconds = statistics.median(visit.get((phase, layer), 0.0) for visit in per_visit)
        every = _every((phase, layer), visits, weights, works)
        found.append(
            {
                "layer": layer,
                "kind": "",
                "phase": phase,
                "call_s": seconds * every,
                "every": every,
                "per_step_s": seconds,
                "shared": (phase, layer) in shared,
                "peak_bytes": peaks.get((phase, layer), 0),
                "held_bytes": held.get((phase, layer), 0),
                **(modules[layer].columns() if layer in modules else {}),
            }
        )
    return found


def _every(part: Part, visits: Sequence[Visit], weights: Mapping[Kind, float], works: Works) -> int:
    """Return after how many steps a part comes again: 1, T_s or T_f."""
    kinds = {kind for visit in visits for kind, spans in visit.spans.items() if part in by_layer(spans, works)}
    return round(1 / sum(weights[kind] for kind in kinds))


def _bytes(memory: Mapping[Key, SpanBytes], works: Works) -> tuple[dict[Part, int], dict[Part, int]]:
    """Return peaks and what is held: a call's peak is that of every layer that it serves, what it leaves is divided."""
    peaks: dict[Part, int] = {}
    for (phase, layers), value in memory.items():
        for name in (layers,) if isinstance(layers, str) else layers:
            peaks[phase, name] = max(peaks.get((phase, name), 0), value.peak)
    left = by_layer({key: float(value.held) for key, value in memory.items()}, works)
    return peaks, {part: round(value) for part, value in left.items()}
