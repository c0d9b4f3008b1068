"""The plain formula: im2col and an einsum over examples and positions."""

from __future__ import annotations

from collections.abc import Callable

import torch
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
        return torch.einsum("nit,njt->ij", columns, columns) / a.shape[0]

    return run


CONTESTANTS = (Contestant("unfold_einsum", prepare, takes()),)
