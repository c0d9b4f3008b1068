"""From a cost section of a suite file to its cases."""

from __future__ import annotations

from itertools import product
from typing import Any, cast, get_args

from kfc_bench.contestants import contestants
from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.curvature.likelihoods import FISHERS, Fisher
from kfc_bench.errors import UserError
from kfc_bench.experiments.base import KnownCases
from kfc_bench.experiments.cost.case import PHASES, SGD, CostCase, Phase
from kfc_bench.experiments.cost.places import layers, networks
from kfc_bench.experiments.sweeps import swept
from kfc_bench.experiments.table import Table
from kfc_bench.measure.clock import Cache
from kfc_bench.measure.precision import PRECISIONS, Precision
from kfc_bench.measure.visits import StoppingRule
from kfc_kernels.catalogue import OPERATORS

DTYPES = ("float32", "float64")

CONTESTANTS = (*(name for name in APPROXIMATIONS if name != "identity"), SGD)


def parse(section: Table, device: str) -> KnownCases:
    """Read ``[defaults]`` and each ``[[sweep]]``.

    Args:
        section: The section.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        The plan, cases that stand in two sweeps once.

    Raises:
        UserError: A key or value is not one of those known.
    """
    return swept(section, lambda known: (_limits(known), _axes(known, device)), lambda table: _sweep(table, device))


def _limits(table: Table) -> dict[str, Any]:
    rule = StoppingRule()
    least = table.positive("least_visits", table.take("least_visits", int, rule.least_visits))
    most = table.positive("most_visits", table.take("most_visits", int, rule.most_visits))
    if most < least:
        raise UserError(f"{table.where}: most_visits = {most} must be at least least_visits = {least}")
    memory = _limit(table, "memory_limit_gib")
    call = _limit(table, "call_limit_s")
    return {
        "rule": StoppingRule(
            half_width=table.positive("half_width", table.take("half_width", float, rule.half_width)),
            least_visits=least,
            most_visits=most,
            seconds=table.positive("seconds", table.take("seconds", float, rule.seconds)),
        ),
        "timeout_s": table.positive("timeout_s", table.take("timeout_s", float, 120.0)),
        "memory_limit_bytes": int(memory * 2**30) or None,
        "call_limit_s": call or None,
        "energy": table.take("energy", bool, False),
        "damping": table.positive("damping", table.take("damping", float, 1e-3)),
        "statistics_every": table.positive("statistics_every", table.take("statistics_every", int, 10)),
        "inverses_every": table.positive("inverses_every", table.take("inverses_every", int, 20)),
    }


def _limit(table: Table, key: str) -> float:
    return _at_least_zero(table, key, table.take(key, float, 0.0))


def _at_least_zero(table: Table, key: str, limit: float) -> float:
    if limit < 0:
        raise UserError(f"{table.where}: {key} = {limit} must not be negative; 0 is no limit")
    return limit


def _axes(table: Table, device: str) -> dict[str, list[Any]]:
    return {
        "implementation": table.sweep("implementation", str, "auto"),
        "dtype": table.choices("dtype", DTYPES, "float32"),
        "precision": table.choices("precision", PRECISIONS, "ieee"),
        "fisher": table.choices("fisher", FISHERS, "mc"),
        "clip": [_at_least_zero(table, "clip", clip) for clip in table.sweep("clip", float, 0.0)],
        "cache": table.choices("cache", get_args(Cache), "cold" if device == "cuda" else "hot"),
    }


def _sweep(table: Table, device: str) -> list[CostCase]:
    limits, axes = _limits(table), _axes(table, device)
    batches = [table.positive("batch", batch) for batch in table.sweep("batch", int)]
    contestants: list[tuple[str | None, str | None, str | None]]
    if "operator" in table:
        contestants = [(operator, None, None) for operator in table.choices("operator", tuple(OPERATORS))]
        places = layers(table)
    else:
        approximations = table.choices("approximation", CONTESTANTS)
        phases = table.choices("phase", PHASES)
        contestants = [(None, approximation, phase) for phase, approximation in product(phases, approximations)]
        places = networks(table) if "network" in table else layers(table)
        if "step" in phases and "network" not in table:
            raise UserError(f"{table.where}: phase 'step' is measured on a network; add network = \"cifar10\", say")
        if any(precision in ("bf16", "fp16") for precision in axes["precision"]):
            raise UserError(
                f"{table.where}: precision bf16 and fp16 are for operators; approximations take ieee and tf32"
            )
    table.done()
    _check_implementations(table, axes["implementation"], [operator for operator, _, _ in contestants if operator])
    cases = []
    for (network, layer, geometry), batch, contestant, implementation, dtype, precision, fisher, clip, cache in product(
        places, batches, contestants, *axes.values()
    ):
        operator, approximation, phase = contestant
        cases.append(
            CostCase(
                operator=operator,
                approximation=approximation,
                phase=cast("Phase | None", phase),
                implementation=implementation,
                network=network,
                layer=layer,
                geometry=geometry,
                batch=batch,
                fisher=cast("Fisher", fisher),
                dtype=dtype,
                precision=cast("Precision", precision),
                device=device,
                cache=cast("Cache", cache),
                clip=clip or None if phase == "step" and approximation != SGD else None,
                **limits,
            )
        )
    return cases


def _check_implementations(table: Table, names: list[str], operators: list[str]) -> None:
    known = {"auto", "reference"} | {entry.name for operator in operators for entry in OPERATORS[operator].table}
    known |= {name for operator, name in contestants() if operator in operators}
    for name in names:
        table.one_of("implementation", name, sorted(known))
