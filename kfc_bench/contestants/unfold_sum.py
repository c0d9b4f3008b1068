"""The plain formula of K-FAC-reduce's input factor: im2col, a sum over positions, one matrix product."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from kfc_bench.contestants.columns import unfolded
from kfc_bench.contestants.contestant import Contestant, takes
from kfc_kernels import ConvGeometry


def prepare(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call for an input ``[N, C, *in]``."""

    def run() -> Tensor:
        sums = unfolded(a, geometry).sum(2)
        return sums.mT @ sums / a.shape[0]

    return run


CONTESTANTS = (Contestant("unfold_sum", prepare, takes(axes=(0, 1, 2), bias=True), operator="reduced_input_factor"),)
