"""From a convergence section of a suite file to its plan."""

from __future__ import annotations

from typing import cast, get_args

from kfc_bench.curvature.likelihoods import FISHERS
from kfc_bench.errors import UserError
from kfc_bench.experiments.convergence.optimizers import OPTIMIZERS
from kfc_bench.experiments.convergence.plan import Contestant, ConvergencePlan, is_settled
from kfc_bench.experiments.convergence.trial import Layout, Metric, Schedule, Setting, Target
from kfc_bench.experiments.convergence.tuning import Axis, grid
from kfc_bench.experiments.table import Table
from kfc_bench.problems.datasets import PROBLEMS
from kfc_bench.problems.networks import NETWORKS


def parse(section: Table, device: str) -> ConvergencePlan:
    """Read the setting, the target and each ``[[optimizer]]``.

    Args:
        section: The section.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        The plan.

    Raises:
        UserError: A key or value is not one of those known, the problem's data is not there, the optimizers' grids
            differ in size, or a reporting seed was used to tune.
    """
    setting = _setting(section, device)
    batch = section.positive("batch", section.take("batch", int))
    seeds = tuple(_seed(section, "seeds", seed) for seed in section.sweep("seeds", int)) if "seeds" in section else ()
    extra_trials = section.take("extra_trials", int, 0)
    if extra_trials < 0:
        raise UserError(f"{section.where}: extra_trials = {extra_trials} must not be negative")
    timeout_s = section.positive("timeout_s", section.take("timeout_s", float, 300.0))
    problem = PROBLEMS[setting.problem]
    problem.check()
    contestants = tuple(
        _contestant(Table(values, f"{section.where} [[optimizer]] {index}", {"batch": batch}), setting.problem)
        for index, values in enumerate(section.tables("optimizer"), start=1)
    )
    settled = is_settled(contestants, extra_trials)
    tunes = "tuning_seed" in section or not settled
    tuning_seed = _seed(section, "tuning_seed", section.take("tuning_seed", int)) if tunes else None
    section.done()
    if settled and not seeds:
        raise UserError(f"{section.where}: nothing is tuned and no seeds report; give seeds, or a grid")
    if tuning_seed in seeds:
        raise UserError(f"{section.where}: seed {tuning_seed} tunes, so it may not report; take it out of seeds")
    _check_fair(section.where, contestants, extra_trials)
    return ConvergencePlan(setting, contestants, problem.train, extra_trials, tuning_seed, seeds, timeout_s)


def _seed(section: Table, key: str, seed: int) -> int:
    if not 0 <= seed < 2**63:
        raise UserError(f"{section.where}: {key}: seed {seed} must be at least 0 and below 2^63")
    return seed


def _setting(section: Table, device: str) -> Setting:
    problem = section.choice("problem", tuple(PROBLEMS))
    network = section.choice("network", tuple(NETWORKS))
    if NETWORKS[network].input_shape != PROBLEMS[problem].input_shape:
        raise UserError(f"{section.where}: network {network!r} does not take the images of problem {problem!r}")
    target = Table(section.take("target", dict), f"{section.where} target")
    epochs = section.positive("epochs", section.take("epochs", float))
    averaged = "averaging" in section
    in_part = "initial_examples" in section
    setting = Setting(
        problem=problem,
        network=network,
        epochs=epochs,
        tuning_epochs=section.positive("tuning_epochs", section.take("tuning_epochs", float, epochs)),
        evaluations=section.positive("evaluations", section.take("evaluations", int)),
        target=Target(
            cast("Metric", target.choice("metric", get_args(Metric))),
            target.positive("value", target.take("value", float)),
        ),
        fisher=section.choice("fisher", FISHERS, "mc"),
        statistics_every=section.positive("statistics_every", section.take("statistics_every", int, 10)),
        inverses_every=section.positive("inverses_every", section.take("inverses_every", int, 20)),
        averaging=section.positive("averaging", section.take("averaging", float)) if averaged else None,
        initial_examples=section.positive("initial_examples", section.take("initial_examples", int))
        if in_part
        else None,
        layout=cast("Layout", section.choice("layout", get_args(Layout), "contiguous")),
        device=device,
    )
    target.done()
    return setting


def _check_fair(where: str, contestants: tuple[Contestant, ...], extra_trials: int) -> None:
    """Hold the optimizers to one number of trials each."""
    names = [contestant.name for contestant in contestants]
    if len(set(names)) < len(names):
        raise UserError(f"{where}: an optimizer is listed twice: {', '.join(names)}")
    sizes = {contestant.name: len(grid(contestant.axes)) for contestant in contestants}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(f"{where}: every optimizer gets the same number of trials, but the grids have {listed} points")
    for contestant in contestants:
        if extra_trials and not any(axis.is_refined for axis in contestant.axes):
            raise UserError(
                f"{where}: extra_trials = {extra_trials} has nothing to refine of {contestant.name}: "
                "sweep its lr, momentum or damping, or set extra_trials = 0"
            )


def _contestant(table: Table, problem: str) -> Contestant:
    name = table.choice("name", tuple(OPTIMIZERS))
    kind, images = OPTIMIZERS[name], PROBLEMS[problem].train
    momenta = [0.0] if kind.momentum is None else table.sweep("momentum", float, kind.momentum)
    if not all(0 <= value < 1 for value in momenta):
        raise UserError(f"{table.where}: momentum {tuple(momenta)} must lie in [0, 1)")
    axes = [
        Axis("lr", tuple(table.positive("lr", value) for value in table.sweep("lr", float))),
        Axis("momentum", tuple(momenta)),
    ]
    if kind.natural:
        axes.append(Axis("damping", tuple(table.positive("damping", value) for value in table.sweep("damping", float))))
    batches = [table.positive("batch", value) for value in table.sweep("batch", int)]
    if max(batches) > images:
        raise UserError(
            f"{table.where}: batch = {max(batches)} must be at most the {images} training images of {problem!r}"
        )
    axes.append(Axis("batch", tuple(batches)))
    axes.append(Axis("schedule", tuple(table.choices("schedule", get_args(Schedule), "constant"))))
    clip = table.positive("clip", table.take("clip", float, kind.clip)) if _clips(table, name) else None
    initialize = table.take("initialize", bool, kind.initialize) if kind.natural else False
    weight_decays = table.sweep("weight_decay", float, 0.0)
    if len(weight_decays) > 1 or weight_decays[0] < 0:
        raise UserError(f"{table.where}: weight_decay is one number, at least 0: it is part of the problem, not tuned")
    table.done()
    return Contestant(name, tuple(axes), weight_decays[0], clip, initialize)


def _clips(table: Table, name: str) -> bool:
    kind = OPTIMIZERS[name]
    return kind.clip is not None or (kind.natural and "clip" in table)
