"""BackPACK: the functions that its extensions call on a convolution, and its KFAC extension in a backward pass.

``sum_grad_squared`` makes per-example gradients by one grouped convolution, ``diag_ggn`` by patches and an einsum.
KFAC's output factor sums over positions before the product, which makes it K-FAC-reduce's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from kfc_bench.contestants.contestant import (
    Contestant,
    Package,
    declining_double,
    of_reduced_sums,
    silenced,
    sum_over_examples,
    takes,
    takes_outputs,
)
from kfc_bench.contestants.network import classifier, convolution
from kfc_kernels import ConvGeometry

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


def prepare_squares(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of ``sum_grad_squared`` alone, for ``[N, C, H, W]`` and vectors ``[1, N, K, H', W']``."""
    from backpack.extensions import SumGradSquared
    from backpack.extensions.firstorder.sum_grad_squared.conv2d import SGSConv2d

    (vectors,) = g
    module = convolution(geometry, a)
    module.input0, module.output = a, vectors
    layer, extension = SGSConv2d(), SumGradSquared()

    def run() -> Tensor:
        squares = layer.weight(extension, module, None, (vectors,), None)
        return squares.view(geometry.grouped(geometry.group_outputs, geometry.patch_dim))

    return run


def prepare_diagonal(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of ``diag_ggn`` alone, for an input ``[N, C, H, W]`` and vectors ``[V, N, K, H', W']``."""
    from backpack.extensions import DiagGGNExact
    from backpack.extensions.secondorder.diag_ggn.conv2d import DiagGGNConv2d

    module = convolution(geometry, a)
    module.input0 = a
    layer, extension = DiagGGNConv2d(), DiagGGNExact()

    def run() -> Tensor:
        diagonal = layer.weight(extension, module, None, None, g)
        return diagonal.view(geometry.grouped(geometry.group_outputs, geometry.patch_dim))

    return run


def prepare_output_factor(g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of KFAC's output factor alone, for vectors ``[V, N, K, H', W']``."""
    from backpack.extensions.secondorder.hbp.conv2d import HBPConv2d

    module, layer = convolution(geometry, g), HBPConv2d()
    return lambda: layer._factor_from_sqrt(module, g)


CONTESTANTS = (
    Contestant("backpack", prepare_factor, takes(zeros_only=False), package=PACKAGE),
    Contestant(
        "backpack_api",
        prepare_api,
        declining_double(takes(zeros_only=False, half=False), "differentiates average pooling in float32 only"),
        package=PACKAGE,
    ),
    Contestant(
        "backpack",
        prepare_squares,
        takes(zeros_only=False, groups=True),
        sum_over_examples,
        PACKAGE,
        "diagonal_fisher",
    ),
    Contestant(
        "backpack_diag_ggn",
        prepare_diagonal,
        takes(zeros_only=False, groups=True),
        sum_over_examples,
        PACKAGE,
        "diagonal_fisher",
    ),
    Contestant("backpack", prepare_output_factor, takes_outputs, of_reduced_sums, PACKAGE, "reduced_output_factor"),
)
