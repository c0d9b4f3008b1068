"""Fidelity: how far each Fisher approximation lies from the exact matrix of a small network."""

from kfc_bench.experiments.base import Experiment
from kfc_bench.experiments.fidelity.measurement import open_case
from kfc_bench.experiments.fidelity.plan import parse
from kfc_bench.experiments.looked_at import classify

FIDELITY = Experiment(visited=False, parse=parse, open=open_case, classify=classify)

__all__ = ["FIDELITY"]
