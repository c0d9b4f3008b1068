"""From a profile section of a suite file to its cases."""

from __future__ import annotations

import math
from itertools import product
from typing import Any, cast

from kfc_bench.curvature.likelihoods import FISHERS, Fisher
from kfc_bench.errors import UserError
from kfc_bench.experiments.base import KnownCases
from kfc_bench.experiments.cost.case import SGD
from kfc_bench.experiments.cost.plan import CONTESTANTS, DTYPES
from kfc_bench.experiments.profile.case import ProfileCase
from kfc_bench.experiments.sweeps import swept
from kfc_bench.experiments.table import Table
from kfc_bench.measure.precision import Precision
from kfc_bench.measure.visits import StoppingRule
from kfc_bench.problems.named import find_network

PRECISIONS = ("ieee", "tf32")
LEAST_VISITS, MOST_VISITS = 6, 12
"""An interval of the median needs six."""


def parse(section: Table, device: str) -> KnownCases:
    """Read ``[defaults]`` and each ``[[sweep]]``.

    Args:
        section: The section.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        The plan, cases that stand in two sweeps once.

    Raises:
        UserError: A key or value is not one of those known, or there is no such network.
    """
    return swept(section, lambda known: (_limits(known), _axes(known)), lambda table: sweep(table, device))


def _limits(table: Table) -> dict[str, Any]:
    least = table.positive("least_visits", table.take("least_visits", int, LEAST_VISITS))
    most = table.positive("most_visits", table.take("most_visits", int, max(MOST_VISITS, least)))
    if most < least:
        raise UserError(f"{table.where}: most_visits = {most} must be at least least_visits = {least}")
    return {
        "rule": StoppingRule(
            half_width=table.positive("half_width", table.take("half_width", float, 0.03)),
            least_visits=least,
            most_visits=most,
            seconds=math.inf,
        ),
        "timeout_s": table.positive("timeout_s", table.take("timeout_s", float, 600.0)),
    }


def _axes(table: Table) -> dict[str, list[Any]]:
    def positive(key: str, kind: type, default: float) -> list[Any]:
        return [table.positive(key, value) for value in table.sweep(key, kind, default)]

    clips = table.sweep("clip", float, 0.0)
    if min(clips) < 0:
        raise UserError(f"{table.where}: clip = {min(clips)} must not be negative; 0 is no clipping")
    return {
        "clip": [clip or None for clip in clips],
        "fisher": table.choices("fisher", FISHERS, "mc"),
        "damping": positive("damping", float, 1e-3),
        "statistics_every": positive("statistics_every", int, 10),
        "inverses_every": positive("inverses_every", int, 20),
        "dtype": table.choices("dtype", DTYPES, "float32"),
        "precision": table.choices("precision", PRECISIONS, "ieee"),
    }


def _input(table: Table) -> tuple[int, ...] | None:
    """Read ``input``, the shape of one example, such as ``[3, 224, 224]``."""
    if "input" not in table:
        return None
    sizes = table.take("input", list)
    if not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise UserError(f"{table.where}: input = {sizes!r} must be the shape of one example, such as [3, 32, 32]")
    return tuple(sizes)


def sweep(table: Table, device: str) -> list[ProfileCase]:
    """Read one sweep.

    Args:
        table: The sweep.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        Every combination of its lists.

    Raises:
        UserError: A key or value is not one of those known, or there is no such network.
    """
    limits, axes, shape = _limits(table), _axes(table), _input(table)
    networks = table.sweep("network", str)
    approximations = table.choices("approximation", CONTESTANTS)
    batches = [table.positive("batch", batch) for batch in table.sweep("batch", int)]
    table.done()
    for network in networks:
        try:
            find_network(network, shape)
        except UserError as error:
            raise UserError(f"{table.where}: {error}") from None
    return [
        ProfileCase(
            network=network,
            input_shape=shape,
            approximation=approximation,
            batch=batch,
            clip=None if approximation == SGD else clip,
            fisher=cast("Fisher", fisher),
            damping=damping,
            statistics_every=statistics_every,
            inverses_every=inverses_every,
            dtype=dtype,
            precision=cast("Precision", precision),
            device=device,
            **limits,
        )
        for network, batch, approximation in product(networks, batches, approximations)
        for clip, fisher, damping, statistics_every, inverses_every, dtype, precision in product(*axes.values())
    ]
