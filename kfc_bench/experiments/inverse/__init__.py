"""Inverse: how exact and how fast each way to invert a damped matrix is, on made-up ones and on a training's."""

from kfc_bench.experiments.base import Experiment
from kfc_bench.experiments.cost.measurement import classify
from kfc_bench.experiments.inverse.measurement import open_case
from kfc_bench.experiments.inverse.plan import parse

INVERSE = Experiment(visited=True, parse=parse, open=open_case, classify=classify)

__all__ = ["INVERSE"]
