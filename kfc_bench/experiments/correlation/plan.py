"""From a correlation section of a suite file to its cases."""

from __future__ import annotations

from itertools import product
from typing import Any

from kfc_bench.experiments.base import KnownCases
from kfc_bench.experiments.correlation.case import CorrelationCase
from kfc_bench.experiments.looked_at import check_fits, take_epochs, take_training
from kfc_bench.experiments.sweeps import swept
from kfc_bench.experiments.table import Table
from kfc_bench.experiments.trained import Training
from kfc_bench.problems.datasets import PROBLEMS

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
        UserError: A key or value is not one of those known, a network does not take a problem's images, or
            there are too few of them.
    """
    return swept(section, _common, lambda table: _sweep(table, device))


def _sweep(table: Table, device: str) -> list[CorrelationCase]:
    problem = table.choice("problem", tuple(PROBLEMS))
    networks = table.choices("network", CHAINS)
    common = _common(table)
    table.done()
    check_fits(table.where, problem, networks, batch=common["training"]["batch"])
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
    return {
        "swept": (table.sweep("seed", int, 0), take_epochs(table, "epochs", 50.0)),
        "training": take_training(table, batch=128, lr=0.01),
        "measured": {
            "examples": table.positive("examples", table.take("examples", int, 2000)),
            "timeout_s": table.positive("timeout_s", table.take("timeout_s", float, 600.0)),
        },
    }
