"""A training step taken apart: the cases that say where its time goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kfc_bench.experiments.cost.case import SGD, CostCase


def step_phases(step: CostCase) -> Iterator[tuple[CostCase, float]]:
    """Take a step apart.

    Args:
        step: A case of phase ``"step"``.

    Yields:
        Each phase's case with how often a step has it, so that the weighted times should add up to the step's: what
        they leave is the optimizer's own bookkeeping. Part of the statistics is what ``"accumulate"`` takes by itself;
        the rest backpropagates the sampled vectors.
    """
    for phase in ("forward", "backward", "update"):
        yield replace(step, approximation=SGD, phase=phase, clip=None), 1.0
    if step.approximation == SGD:
        return
    yield replace(step, phase="statistics", clip=None), 1 / step.statistics_every
    yield replace(step, phase="refresh", clip=None), 1 / step.inverses_every
    yield replace(step, phase="precondition", clip=None), 1.0
    if step.clip is not None:
        yield replace(step, phase="clip"), 1.0
