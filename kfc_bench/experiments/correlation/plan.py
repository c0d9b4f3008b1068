"""From a correlation section of a suite file to its cases."""

from __future__ import annotations

from itertools import product
from typing import Any

from kfc_bench.errors import UserError
from kfc_bench.experiments.base import KnownCases
from kfc_bench.experiments.correlation.case import CorrelationCase
from kfc_bench.experiments.sweeps import swept
from kfc_bench.experiments.table import Table
from kfc_bench.experiments.trained import Training
from kfc_bench.problems.datasets import PROBLEMS
from kfc_bench.problems.networks import NETWORKS

CHAINS = ("cifar10", "cifar10_layers18", "cifar10_average", "svhn", "svhn_average", "digits", "digits_average")
"""Networks whose modules run one after another, with a ReLU and a pooling behind each convolution."""


def parse(section: Table, device: str) -> KnownCases:
    """Read ``[defaults]`` and each ``[[sweep]]``.

    Args:
        section: The section.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        The plan, cases that stand in two sweeps once.

    Raises:
        UserError: A key or value is not one of those known, or a network does not take a problem's images.
    """
    return swept(section, _common, lambda table: _sweep(table, device))


def _sweep(table: Table, device: str) -> list[CorrelationCase]:
    problem = table.choice("problem", tuple(PROBLEMS))
    networks = table.choices("network", CHAINS)
    common = _common(table)
    table.done()
    for network in networks:
        if NETWORKS[network].input_shape != PROBLEMS[problem].input_shape:
            taken, there = ("x".join(map(str, of.input_shape)) for of in (NETWORKS[network], PROBLEMS[problem]))
            raise UserError(f"{table.where}: network {network!r} takes images of {taken}, {problem!r} has {there}")
    if common["training"]["batch"] > PROBLEMS[problem].train:
        raise UserError(
            f"{table.where}: batch = {common['training']['batch']} must be at most the {PROBLEMS[problem].train} "
            f"training images of {problem!r}"
        )
    return [
        CorrelationCase(
            Training(problem, network, seed=seed, device=device, **common["training"]),
            epochs=epochs,
            **common["measured"],
        )
        for network, seed, epochs in product(networks, *common["swept"])
    ]


def _common(table: Table) -> dict[str, Any]:
    """Take the keys that defaults may have too."""
    seeds, epochs = table.sweep("seed", int, 0), table.sweep("epochs", float, 50.0)
    if min(epochs) < 0:
        raise UserError(f"{table.where}: epochs = {min(epochs):g} must be at least 0")
    momentum = table.take("momentum", float, 0.9)
    if not 0 <= momentum < 1:
        raise UserError(f"{table.where}: momentum = {momentum:g} must be at least 0 and below 1")
    return {
        "swept": (seeds, epochs),
        "training": {
            "batch": table.positive("batch", table.take("batch", int, 128)),
            "lr": table.positive("lr", table.take("lr", float, 0.01)),
            "momentum": momentum,
        },
        "measured": {
            "examples": table.positive("examples", table.take("examples", int, 2000)),
            "timeout_s": table.positive("timeout_s", table.take("timeout_s", float, 600.0)),
        },
    }
