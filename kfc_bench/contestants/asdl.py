"""ASDL (asdfghjkl on PyPI): the functions of its convolutions, and its Monte Carlo Fisher in the Kronecker form.

Its diagonal sums the squares of each position's gradient, not the square of their sum, where that takes less memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from kfc_bench.contestants.contestant import (
    Contestant,
    Package,
    mean_over_positions,
    silenced,
    sum_over_all,
    sum_over_examples,
    takes,
    takes_outputs,
)
from kfc_bench.contestants.network import classifier, convolution
from kfc_kernels import ConvGeometry

PACKAGE = Package("asdl", "asdfghjkl")


def _import() -> Any:
    with silenced("`torch.jit", DeprecationWarning):
        import asdl
    return asdl


def prepare_factor(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the factor alone, for an input ``[N, C, H, W]``."""
    asdl = _import()
    module, layer = convolution(geometry, a), asdl.operations.conv.Conv2d

    def run() -> Tensor:
        return layer.cov_kron_A(module, layer.preprocess_in_data(module, a, None))

    return run


def _of_factor(geometry: ConvGeometry, batch: int) -> float:
    return mean_over_positions(geometry, batch) / batch


def prepare_diagonal(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the diagonal alone, for an input ``[N, C, H, W]`` and vectors ``[1, N, K, H', W']``."""
    asdl = _import()
    (vectors,) = g
    module, layer = convolution(geometry, a), asdl.operations.conv.Conv2d

    def run() -> Tensor:
        patches = layer.preprocess_in_data(module, a, None)
        gradients = layer.preprocess_out_grads(module, vectors)
        return layer.cov_diag_weight(module, patches, gradients).flatten(1)

    return run


def prepare_output_factor(g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the output factor alone, for vectors ``[1, N, K, H', W']``."""
    asdl = _import()
    (vectors,) = g
    module, layer = convolution(geometry, g), asdl.operations.conv.Conv2d
    return lambda: layer.cov_kron_B(module, layer.preprocess_out_grads(module, vectors))


def prepare_api(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call that makes the Fisher, passes included."""
    asdl = _import()
    model, _ = classifier(geometry, a)
    layer: Any = model[0]
    config = asdl.FisherConfig(
        fisher_type=asdl.FISHER_MC,
        fisher_shapes=[asdl.SHAPE_KRON],
        loss_type=asdl.LOSS_CROSS_ENTROPY,
        data_size=a.shape[0],
    )
    maker = asdl.get_fisher_maker(model, config)
    maker.setup_model_call(model, a)

    def run() -> Tensor:
        with silenced("Using a non-full backward hook", FutureWarning):
            maker.forward_and_backward()
        omega = layer.fisher.kron.A
        del layer.fisher
        return omega

    return run


CONTESTANTS = (
    Contestant("asdl", prepare_factor, takes(dilation=False, zeros_only=False), _of_factor, PACKAGE),
    Contestant(
        "asdl_api",
        prepare_api,
        takes(dilation=False, zeros_only=False, half=False),
        mean_over_positions,
        PACKAGE,
    ),
    Contestant(
        "asdl",
        prepare_diagonal,
        takes(dilation=False, zeros_only=False),
        sum_over_examples,
        PACKAGE,
        "diagonal_fisher",
    ),
    Contestant("asdl", prepare_output_factor, takes_outputs, sum_over_all, PACKAGE, "output_factor"),
)
