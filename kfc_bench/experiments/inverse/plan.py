"""From an inverse section of a suite file to its cases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, cast, get_args

from kfc_bench.errors import UserError
from kfc_bench.experiments.base import KnownCases
from kfc_bench.experiments.inverse.case import InverseCase, MadeUp, Start, Trained
from kfc_bench.experiments.inverse.factors import FACTORS, Training
from kfc_bench.experiments.inverse.families import FAMILIES
from kfc_bench.experiments.sweeps import swept
from kfc_bench.experiments.table import Table
from kfc_bench.measure.visits import StoppingRule
from kfc_bench.problems.networks import NETWORKS, layer_geometries
from kfc_kernels.catalogue import OPERATORS

DTYPES = ("float32", "float64")
IMPLEMENTATIONS = tuple(entry.name for entry in OPERATORS["damped_inverse"].table)
STARTS: tuple[Start, ...] = get_args(Start)
ITERATIVE = ("newton",)
"""Implementations that start somewhere."""

SMALLEST = 8


def parse(section: Table, device: str) -> KnownCases:
    """Read ``[defaults]`` and each ``[[sweep]]``, of families or of a training.

    Args:
        section: The section.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        The plan, cases that stand in two sweeps once.

    Raises:
        UserError: A key or value is not one of those known.
    """
    return swept(
        section, lambda known: (_limits(known), _contestants(known, "cold")), lambda table: _sweep(table, device)
    )


def _sweep(table: Table, device: str) -> list[InverseCase]:
    made_up = "family" in table
    limits, contestants = _limits(table), _contestants(table, "cold" if made_up else "warm")
    origins: Sequence[MadeUp | Trained] = _families(table) if made_up else _training(table)
    table.done()
    return [
        InverseCase(origin, implementation, start, dtype, device, **limits)
        for origin, (implementation, start, dtype) in product(origins, contestants)
    ]


def _limits(table: Table) -> dict[str, Any]:
    rule = StoppingRule(least_visits=6, most_visits=6)
    least = table.positive("least_visits", table.take("least_visits", int, rule.least_visits))
    most = table.positive("most_visits", table.take("most_visits", int, rule.most_visits))
    if most < least:
        raise UserError(f"{table.where}: most_visits = {most} must be at least least_visits = {least}")
    return {
        "rule": StoppingRule(least_visits=least, most_visits=most),
        "timeout_s": table.positive("timeout_s", table.take("timeout_s", float, 120.0)),
    }


def _contestants(table: Table, start: Start) -> list[tuple[str, Start | None, str]]:
    names = table.choices("implementation", IMPLEMENTATIONS, "cholesky")
    starts = table.choices("start", STARTS, start)
    dtypes = table.choices("dtype", DTYPES, "float32")
    return [
        (name, cast("Start | None", begin), dtype)
        for name, dtype in product(names, dtypes)
        for begin in (starts if name in ITERATIVE else [None])
    ]


def _families(table: Table) -> list[MadeUp]:
    families = table.choices("family", tuple(FAMILIES))
    sizes, conditions = table.sweep("size", int), table.sweep("condition", float)
    if min(sizes) < SMALLEST:
        raise UserError(f"{table.where}: size = {min(sizes)} must be at least {SMALLEST}")
    if min(conditions) <= 1:
        raise UserError(f"{table.where}: condition = {min(conditions)} must be more than 1")
    return [MadeUp(*values) for values in product(families, sizes, conditions)]


def _training(table: Table) -> list[Trained]:
    digits = [name for name, network in NETWORKS.items() if network.input_shape == NETWORKS["digits"].input_shape]

    def positive(key: str, default: int) -> int:
        return table.positive(key, table.take(key, int, default))

    training = Training(
        network=table.choice("network", digits),
        batch=positive("batch", 64),
        steps=positive("steps", 200),
        lr=table.positive("lr", table.take("lr", float, 0.01)),
        damping=table.positive("training_damping", table.take("training_damping", float, 0.1)),
        statistics_every=positive("statistics_every", 10),
        inverses_every=positive("inverses_every", 20),
        seed=table.take("seed", int, 0),
    )
    dampings = [table.positive("damping", damping) for damping in table.sweep("damping", float)]
    layers = tuple(layer_geometries(training.network))
    return [Trained(training, *values) for values in product(layers, FACTORS, dampings, training.refreshes)]
