"""Convergence: loss and error by step and by wall clock, every optimizer tuned with the same number of trials."""

from kfc_bench.experiments.base import Experiment
from kfc_bench.experiments.convergence.section import parse
from kfc_bench.experiments.convergence.training import classify, open_trial

CONVERGENCE = Experiment(visited=False, parse=parse, open=open_trial, classify=classify)

__all__ = ["CONVERGENCE"]
