"""From a fidelity section of a suite file to its cases."""

from __future__ import annotations

from itertools import product
from typing import Any

from kfc_bench.experiments.base import KnownCases
from kfc_bench.experiments.fidelity.case import FidelityCase
from kfc_bench.experiments.looked_at import check_fits, take_epochs, take_training
from kfc_bench.experiments.sweeps import swept
from kfc_bench.experiments.table import Table
from kfc_bench.experiments.trained import Training
from kfc_bench.problems.datasets import PROBLEMS

SMALL = ("digits", "digits_small", "digits_average", "fashion_small")
"""Networks of at most 2,500 parameters, all of them in convolution and linear layers of one group."""


def parse(section: Table, device: str) -> KnownCases:
    """Read ``[defaults]`` and each ``[[sweep]]``.

    Args:
        section: The section.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        The plan, cases that stand in two sweeps once.

    Raises:
        UserError: A key or value is not one of those known, a network does not take a problem's images, or there are
            too few of them.
    """
    return swept(section, _common, lambda table: _sweep(table, device))


def _sweep(table: Table, device: str) -> list[FidelityCase]:
    problem = table.choice("problem", tuple(PROBLEMS))
    networks = table.choices("network", SMALL)
    common = _common(table)
    table.done()
    check_fits(
        table.where, problem, networks, examples=common["measured"]["examples"], batch=common["training"]["batch"]
    )
    return [
        FidelityCase(
            Training(problem, network, seed=seed, device=device, **common["training"]),
            epoch=epoch,
            damping=damping,
            **common["measured"],
        )
        for network, seed, epoch, damping in product(networks, *common["swept"])
    ]


def _common(table: Table) -> dict[str, Any]:
    """Take the keys that defaults may have too."""
    dampings = [table.positive("damping", value) for value in table.sweep("damping", float, 1e-3)]
    return {
        "swept": (table.sweep("seed", int, 0), take_epochs(table, "epoch", 0.0), dampings),
        "training": take_training(table, batch=64, lr=0.05),
        "measured": {
            "examples": table.positive("examples", table.take("examples", int, 500)),
            "kl": table.positive("kl", table.take("kl", float, 1e-3)),
            "timeout_s": table.positive("timeout_s", table.take("timeout_s", float, 300.0)),
        },
    }
