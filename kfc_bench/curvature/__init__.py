"""Fisher approximations: layer statistics -> inverse -> natural gradient."""

from kfc_bench.curvature.approximation import Approximation, PhaseBytes
from kfc_bench.curvature.approximations import APPROXIMATIONS
from kfc_bench.curvature.batch import Batch, ExampleBatch, LayerBatch
from kfc_bench.curvature.network import NetworkCurvature

__all__ = [
    "APPROXIMATIONS",
    "Approximation",
    "Batch",
    "ExampleBatch",
    "LayerBatch",
    "NetworkCurvature",
    "PhaseBytes",
]
