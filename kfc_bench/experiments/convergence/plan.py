"""The trials of a convergence section, in the order in which they become known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from kfc_bench.experiments.base import Case
from kfc_bench.experiments.convergence.trial import Hyperparameters, Role, Schedule, Setting, TrialCase
from kfc_bench.experiments.convergence.tuning import WORST, Axis, Point, Score, grid, is_on_edge, propose, winner
from kfc_bench.results.schema import Record


@dataclass(frozen=True)
class Contestant:
    """An optimizer, what is tuned of it and what is not.

    Attributes:
        name: A key of `OPTIMIZERS`.
        axes: Of its grid: lr, momentum, damping (of natural gradient), batch, schedule.
        weight_decay: Part of the problem, so not tuned.
        clip: C; None for no clipping.
        initialize: Whether statistics come from the full training set at first.
    """

    name: str
    axes: tuple[Axis, ...]
    weight_decay: float
    clip: float | None
    initialize: bool

    def hyperparameters(self, point: Point) -> Hyperparameters:
        """Name a point's values."""
        values = {axis.name: value for axis, value in zip(self.axes, point, strict=True)}
        damping = values.get("damping")
        return Hyperparameters(
            lr=float(values["lr"]),
            momentum=float(values["momentum"]),
            damping=None if damping is None else float(damping),
            weight_decay=self.weight_decay,
            batch=int(values["batch"]),
            schedule=cast("Schedule", values["schedule"]),
        )


@dataclass(frozen=True)
class ConvergencePlan:
    """Tuning on validation data, then the winners on test data with seeds that tuning never saw.

    Attributes:
        setting: What all trials share.
        contestants: The optimizers, their grids of one size.
        train: Training images of the problem.
        extra_trials: Of each optimizer, beyond its grid.
        tuning_seed: None where `is_settled`.
        seeds: Of the reports; none for a search alone.
        timeout_s: Of each trial.
    """

    setting: Setting
    contestants: tuple[Contestant, ...]
    train: int
    extra_trials: int
    tuning_seed: int | None
    seeds: tuple[int, ...]
    timeout_s: float

    @property
    def is_settled(self) -> bool:
        """Whether no optimizer has more than one point to try, so that there is nothing to tune."""
        return is_settled(self.contestants, self.extra_trials)

    @property
    def trials(self) -> int:
        """Tuning trials of each optimizer."""
        return 0 if self.is_settled else len(grid(self.contestants[0].axes)) + self.extra_trials

    @property
    def total(self) -> int:
        """All trials of all optimizers."""
        return len(self.contestants) * (self.trials + len(self.seeds))

    def _case(
        self, contestant: Contestant, point: Point, role: Role, trial: int, seed: int, on_edge: bool | None
    ) -> TrialCase:
        values = contestant.hyperparameters(point)
        epochs = self.setting.tuning_epochs if role == "tuning" else self.setting.epochs
        return TrialCase(
            setting=self.setting,
            optimizer=contestant.name,
            hyperparameters=values,
            clip=contestant.clip,
            initialize=contestant.initialize,
            steps=max(1, round(epochs * (self.train // values.batch))),
            role=role,
            trial=trial,
            seed=seed,
            on_edge=on_edge,
            timeout_s=self.timeout_s,
        )

    def _tuned(
        self, contestant: Contestant, seed: int, records: Mapping[str, Record]
    ) -> tuple[list[TrialCase], dict[Point, Score] | None]:
        """Return the tuning trials known so far, and the scores once all of them are in."""
        cases: list[TrialCase] = []
        tried: dict[Point, Score] = {}
        points = grid(contestant.axes)
        while True:
            for point in points:
                cases.append(self._case(contestant, point, "tuning", len(cases), seed, None))
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
        winners: list[tuple[Contestant, Point, bool | None]] = []
        for contestant in self.contestants:
            if self.tuning_seed is None or self.is_settled:
                winners.append((contestant, grid(contestant.axes)[0], None))
                continue
            tuning, tried = self._tuned(contestant, self.tuning_seed, records)
            cases += tuning
            if tried is not None:
                winners.append((contestant, winner(tried), is_on_edge(contestant.axes, tried)))
        if len(winners) < len(self.contestants):
            return cases
        for trial, seed in enumerate(self.seeds):
            cases += [
                self._case(contestant, point, "report", trial, seed, on_edge) for contestant, point, on_edge in winners
            ]
        return cases


def is_settled(contestants: Sequence[Contestant], extra_trials: int) -> bool:
    """Tell whether no optimizer has more than one point to try."""
    return extra_trials == 0 and all(len(grid(contestant.axes)) == 1 for contestant in contestants)


def score(record: Record) -> Score:
    """Rank a tuning trial by the examples that it took to the target on validation data, then by its last loss there.

    Steps of unlike batches are not alike, and seconds are noisy; examples, steps times the batch, are epochs.

    Args:
        record: The trial's.

    Returns:
        The score; lower is better, and `WORST` a trial that failed.
    """
    if record["status"] != "ok":
        return WORST
    steps = record["steps_to_target"]
    return (math.inf if steps is None else steps * record["batch"], record["curve"][-1]["validation_loss"])
