"""Profile: where a training step's time and memory go, by layer and phase."""

from kfc_bench.experiments.base import Experiment
from kfc_bench.experiments.cost.measurement import classify
from kfc_bench.experiments.profile.measurement import open_case
from kfc_bench.experiments.profile.plan import parse

PROFILE = Experiment(visited=True, parse=parse, open=open_case, classify=classify)

__all__ = ["PROFILE"]
