"""BackPACK: the input factor of its KFAC extension, and the extension in a backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kfc_bench.contestants.contestant import Contestant, Package, silenced, takes
from kfc_bench.contestants.network import classifier, convolution
from kfc_kernels import ConvGeometry
from kfc_kernels.dispatch import Case

PACKAGE = Package("backpack", "backpack-for-pytorch")


def prepare_factor(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the factor alone, for an input ``[N, C, H, W]``."""
    from backpack.extensions import KFAC
    from backpack.extensions.secondorder.hbp.conv2d import HBPConv2d

    module = convolution(geometry, a)
    module.input0 = a
    layer, extension = HBPConv2d(), KFAC(mc_samples=1)

    def run() -> Tensor:
        (omega,) = layer._factors_from_input(extension, module)
        return omega

    return run


def prepare_api(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call that runs both passes under the extension."""
    from backpack import backpack, extend
    from backpack.extensions import KFAC

    network, labels = classifier(geometry, a)
    model, loss = extend(network), extend(nn.CrossEntropyLoss())
    weight: Any = network[0].weight

    def run() -> Tensor:
        with silenced("Full backward hook is firing", UserWarning), backpack(KFAC(mc_samples=1)):
            loss(model(a), labels).backward()
        _, omega = weight.kfac
        del weight.kfac
        model.zero_grad()
        return omega

    return run


def declines_api(case: Case) -> str | None:
    """Decline float64 too."""
    if case.dtype == torch.float64:
        return "differentiates average pooling in float32 only"
    return takes(zeros_only=False, half=False)(case)


CONTESTANTS = (
    Contestant("backpack", prepare_factor, takes(zeros_only=False), package=PACKAGE),
    Contestant("backpack_api", prepare_api, declines_api, package=PACKAGE),
)
