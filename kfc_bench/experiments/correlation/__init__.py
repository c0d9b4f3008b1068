"""Correlation: how derivatives and activations of a trained network correlate, across positions and across maps."""

from kfc_bench.experiments.base import Experiment
from kfc_bench.experiments.correlation.measurement import open_case
from kfc_bench.experiments.correlation.plan import parse
from kfc_bench.experiments.looked_at import classify

CORRELATION = Experiment(visited=False, parse=parse, open=open_case, classify=classify)

__all__ = ["CORRELATION"]
