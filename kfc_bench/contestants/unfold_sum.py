"""The plain formula of K-FAC-reduce's input factor: im2col, a sum over positions, one matrix product."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from kfc_bench.contestants.contestant import Contestant, takes
from kfc_kernels import ConvGeometry


def prepare(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call for an input ``[N, C, H, W]``."""
    padding = tuple(before for before, _ in geometry.padding)

    def run() -> Tensor:
        columns = functional.unfold(
            a, geometry.kernel, dilation=geometry.dilation, padding=padding, stride=geometry.stride
        )
        sums = columns.sum(2)
        return sums.mT @ sums / a.shape[0]

    return run


CONTESTANTS = (Contestant("unfold_sum", prepare, takes(), operator="reduced_input_factor"),)
