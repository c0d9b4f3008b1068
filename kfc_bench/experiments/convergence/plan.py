"""From a convergence section of a suite file to its trials, in the order in which they become known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.curvature.likelihoods import FISHERS
from kfc_bench.errors import UserError
from kfc_bench.experiments.base import Case
from kfc_bench.experiments.convergence.trial import Hyperparameters, Metric, Setting, Target, TrialCase
from kfc_bench.experiments.convergence.tuning import WORST, Axis, Point, Score, grid, is_on_edge, propose, winner
from kfc_bench.experiments.table import Table
from kfc_bench.problems.digits import TRAIN
from kfc_bench.problems.networks import NETWORKS
from kfc_bench.results.schema import Record

PROBLEMS = {"digits": TRAIN}
"""Data sets, each with its number of training images."""

OPTIMIZERS = ("sgd", *(name for name in APPROXIMATIONS if name != "identity"))
METRICS = ("error", "loss")


@dataclass(frozen=True)
class Contestant:
    """An optimizer and the axes of its grid: lr, momentum, damping (not for SGD), weight_decay."""

    name: str
    axes: tuple[Axis, ...]

    def hyperparameters(self, point: Point) -> Hyperparameters:
        """Name a point's values."""
        values = {axis.name: value for axis, value in zip(self.axes, point, strict=True)}
        return Hyperparameters(values["lr"], values["momentum"], values.get("damping"), values["weight_decay"])


@dataclass(frozen=True)
class ConvergencePlan:
    """Tuning on validation data, then the winners on test data with seeds that tuning never saw."""

    setting: Setting
    contestants: tuple[Contestant, ...]
    extra_trials: int
    tuning_seed: int
    seeds: tuple[int, ...]
    timeout_s: float

    @property
    def trials(self) -> int:
        """Tuning trials of each optimizer."""
        return len(grid(self.contestants[0].axes)) + self.extra_trials

    @property
    def total(self) -> int:
        """All trials of all optimizers."""
        return len(self.contestants) * (self.trials + len(self.seeds))

    def _tuning_case(self, contestant: Contestant, point: Point, trial: int) -> TrialCase:
        hyperparameters = contestant.hyperparameters(point)
        return TrialCase(
            self.setting, contestant.name, hyperparameters, "tuning", trial, self.tuning_seed, False, self.timeout_s
        )

    def _tuned(
        self, contestant: Contestant, records: Mapping[str, Record]
    ) -> tuple[list[TrialCase], dict[Point, Score] | None]:
        """Return the tuning trials known so far, and the scores once all of them are in."""
        cases: list[TrialCase] = []
        tried: dict[Point, Score] = {}
        points = grid(contestant.axes)
        while True:
            for point in points:
                cases.append(self._tuning_case(contestant, point, len(cases)))
                record = records.get(cases[-1].case_id)
                if record is not None:
                    tried[point] = score(record)
            if len(tried) < len(cases):
                return cases, None
            following = propose(contestant.axes, tried) if len(cases) < self.trials else None
            if following is None:
                return cases, tried
            points = [following]

    def due(self, records: Mapping[str, Record]) -> Sequence[Case]:
        """Return the trials known so far: grids, then what they point to, then the reports, seeds in turn."""
        cases: list[TrialCase] = []
        winners: list[tuple[Contestant, Point, bool]] = []
        for contestant in self.contestants:
            tuning, tried = self._tuned(contestant, records)
            cases += tuning
            if tried is not None:
                winners.append((contestant, winner(tried), is_on_edge(contestant.axes, tried)))
        if len(winners) < len(self.contestants):
            return cases
        for trial, seed in enumerate(self.seeds):
            for contestant, point, on_edge in winners:
                hyperparameters = contestant.hyperparameters(point)
                cases.append(
                    TrialCase(
                        self.setting, contestant.name, hyperparameters, "report", trial, seed, on_edge, self.timeout_s
                    )
                )
        return cases


def score(record: Record) -> Score:
    """Rank a tuning trial: fewest steps to the target on validation data, then the lowest last validation loss."""
    if record["status"] != "ok":
        return WORST
    steps = record["steps_to_target"]
    return (math.inf if steps is None else steps, record["curve"][-1]["validation_loss"])


def parse(section: Table, device: str) -> ConvergencePlan:
    """Read the setting, the target and each ``[[optimizer]]``.

    Args:
        section: The section.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        The plan.

    Raises:
        UserError: A key or value is not one of those known, the optimizers' grids differ in size, or a
            reporting seed was used to tune.
    """
    problem = section.choice("problem", tuple(PROBLEMS))
    network = section.choice("network", tuple(NETWORKS))
    if NETWORKS[network].input_shape != NETWORKS[problem].input_shape:
        raise UserError(f"{section.where}: network {network!r} does not take the images of problem {problem!r}")
    target = Table(section.take("target", dict), f"{section.where} target")
    setting = Setting(
        problem=problem,
        network=network,
        batch=section.positive("batch", section.take("batch", int)),
        steps=section.positive("steps", section.take("steps", int)),
        evaluate_every=section.positive("evaluate_every", section.take("evaluate_every", int)),
        target=Target(
            cast("Metric", target.choice("metric", METRICS)), target.positive("value", target.take("value", float))
        ),
        fisher=section.choice("fisher", FISHERS, "mc"),
        statistics_every=section.positive("statistics_every", section.take("statistics_every", int, 10)),
        inverses_every=section.positive("inverses_every", section.take("inverses_every", int, 20)),
        device=device,
    )
    target.done()
    if setting.batch > PROBLEMS[problem]:
        raise UserError(
            f"{section.where}: batch = {setting.batch} must be at most "
            f"the {PROBLEMS[problem]} training images of {problem!r}"
        )
    tuning_seed = section.take("tuning_seed", int)
    seeds = tuple(section.sweep("seeds", int))
    extra_trials = section.take("extra_trials", int)
    if extra_trials < 0:
        raise UserError(f"{section.where}: extra_trials = {extra_trials} must not be negative")
    timeout_s = section.positive("timeout_s", section.take("timeout_s", float, 300.0))
    contestants = tuple(
        _contestant(Table(values, f"{section.where} [[optimizer]] {index}"))
        for index, values in enumerate(section.tables("optimizer"), start=1)
    )
    section.done()
    if tuning_seed in seeds:
        raise UserError(f"{section.where}: seed {tuning_seed} tunes, so it may not report; take it out of seeds")
    names = [contestant.name for contestant in contestants]
    if len(set(names)) < len(names):
        raise UserError(f"{section.where}: an optimizer is listed twice: {', '.join(names)}")
    sizes = {contestant.name: len(grid(contestant.axes)) for contestant in contestants}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(
            f"{section.where}: every optimizer gets the same number of trials, but the grids have {listed} points"
        )
    return ConvergencePlan(setting, contestants, extra_trials, tuning_seed, seeds, timeout_s)


def _contestant(table: Table) -> Contestant:
    name = table.choice("name", OPTIMIZERS)
    axes = [
        Axis("lr", tuple(table.positive("lr", value) for value in table.sweep("lr", float))),
        Axis("momentum", tuple(table.sweep("momentum", float, 0.9))),
    ]
    if not all(0 <= value < 1 for value in axes[1].values):
        raise UserError(f"{table.where}: momentum {axes[1].values} must lie in [0, 1)")
    if name != "sgd":
        axes.append(Axis("damping", tuple(table.positive("damping", value) for value in table.sweep("damping", float))))
    weight_decays = table.sweep("weight_decay", float, 0.0)
    if len(weight_decays) > 1 or weight_decays[0] < 0:
        raise UserError(f"{table.where}: weight_decay is one number, at least 0: it is part of the problem, not tuned")
    axes.append(Axis("weight_decay", tuple(weight_decays)))
    table.done()
    return Contestant(name, tuple(axes))
