"""What suite files say of networks that are trained and then looked at, and the data that this takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kfc_bench.errors import UserError
from kfc_bench.experiments.cost import measurement as cost
from kfc_bench.experiments.table import Table
from kfc_bench.experiments.trained import problem_data
from kfc_bench.problems.datasets import PROBLEMS
from kfc_bench.problems.images import ImageData
from kfc_bench.problems.networks import NETWORKS
from kfc_kernels import UnsupportedError


def take_training(table: Table, *, batch: int, lr: float) -> dict[str, Any]:
    """Take the keys of a `Training` that sweeps and defaults may have.

    Args:
        table: The table.
        batch: Examples per step where it has none.
        lr: Learning rate where it has none.

    Returns:
        ``batch``, ``lr`` and ``momentum``.

    Raises:
        UserError: One is out of its range.
    """
    momentum = table.take("momentum", float, 0.9)
    if not 0 <= momentum < 1:
        raise UserError(f"{table.where}: momentum = {momentum:g} must be at least 0 and below 1")
    return {
        "batch": table.positive("batch", table.take("batch", int, batch)),
        "lr": table.positive("lr", table.take("lr", float, lr)),
        "momentum": momentum,
    }


def take_epochs(table: Table, key: str, default: float) -> list[float]:
    """Take passes over the training images, 0 for a network as initialised.

    Args:
        table: The table.
        key: Their name.
        default: Where it has none.

    Returns:
        One or several.

    Raises:
        UserError: One is negative.
    """
    epochs = table.sweep(key, float, default)
    if min(epochs) < 0:
        raise UserError(f"{table.where}: {key} = {min(epochs):g} must be at least 0")
    return epochs


def check_fits(where: str, problem: str, networks: Sequence[str], **wanted: int) -> None:
    """Hold networks and numbers of training images to a problem's.

    Args:
        where: For the message.
        problem: A key of `PROBLEMS`.
        networks: Keys of `NETWORKS`.
        wanted: How many images, by key.

    Raises:
        UserError: A network takes other images, or there are too few.
    """
    for network in networks:
        if NETWORKS[network].input_shape != PROBLEMS[problem].input_shape:
            taken, shown = ("x".join(map(str, of.input_shape)) for of in (NETWORKS[network], PROBLEMS[problem]))
            raise UserError(f"{where}: network {network!r} takes images of {taken}, {problem!r} has {shown}")
    there = PROBLEMS[problem].train
    for key, count in wanted.items():
        if count > there:
            raise UserError(f"{where}: {key} = {count}, but {problem!r} has {there} training images")


def data_or_unsupported(problem: str, device: str) -> ImageData:
    """Load a problem's data.

    Args:
        problem: A key of `PROBLEMS`.
        device: Where it goes.

    Returns:
        The data.

    Raises:
        UnsupportedError: It is not there.
    """
    try:
        PROBLEMS[problem].check()
    except UserError as error:
        raise UnsupportedError(str(error)) from None
    return problem_data(problem, device)


def classify(error: Exception) -> tuple[str, str]:
    """Turn what a case raised into a status and a reason: as of a cost case, and ``diverged`` where a training did."""
    return ("diverged", str(error)) if isinstance(error, FloatingPointError) else cost.classify(error)
