"""Cost: time and memory of operators, of an approximation's phases, and of whole training steps."""

from kfc_bench.experiments.base import Experiment
from kfc_bench.experiments.cost.measurement import classify, open_case
from kfc_bench.experiments.cost.plan import parse

COST = Experiment(visited=True, parse=parse, open=open_case, classify=classify)

__all__ = ["COST"]
