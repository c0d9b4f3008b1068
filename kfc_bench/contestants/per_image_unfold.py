"""The plain formula that saves memory: im2col of one image after the other."""

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
        omega = a.new_zeros(geometry.patch_dim, geometry.patch_dim)
        for image in a:
            columns = functional.unfold(
                image, geometry.kernel, dilation=geometry.dilation, padding=padding, stride=geometry.stride
            )
            omega.addmm_(columns, columns.mT)
        return omega.div_(a.shape[0])

    return run


CONTESTANTS = (Contestant("per_image_unfold", prepare, takes()),)
