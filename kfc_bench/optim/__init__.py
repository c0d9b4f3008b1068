"""Optimizers built on Fisher approximations."""

from kfc_bench.optim.kfc_pre import KFCPre
from kfc_bench.optim.natural_gradient import NaturalGradient

__all__ = ["KFCPre", "NaturalGradient"]
