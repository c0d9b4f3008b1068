"""NNGeometry: the functions of its convolution layers, and its Monte Carlo Fisher in the KFAC form.

Its per-example gradients, and so its diagonal and blocks, are laid out in float32 whatever they are made from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from kfc_bench.contestants.contestant import (
    Contestant,
    Package,
    declining_double,
    sum_over_examples,
    takes,
    takes_outputs,
)
from kfc_bench.contestants.network import classifier, convolution
from kfc_kernels import ConvGeometry

PACKAGE = Package("nngeometry", "nngeometry")
IN_FLOAT32 = declining_double(takes(zeros_only=False), "lays gradients out in float32")


def prepare_factor(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the factor alone, for an input ``[N, C, H, W]``."""
    from nngeometry.backend.torch_hooks.grads import Conv2dJacobianFactory

    module = convolution(geometry, a)

    def run() -> Tensor:
        omega = a.new_zeros(geometry.patch_dim, geometry.patch_dim)
        Conv2dJacobianFactory.kfac_xx(omega, module, module, a, None)
        return omega

    return run


def _layer(geometry: ConvGeometry) -> Any:
    from nngeometry.layercollection import Conv2dLayer

    return Conv2dLayer(geometry.in_channels, geometry.out_channels, geometry.kernel, bias=geometry.bias)


def prepare_gradients(
    a: Tensor, g: Tensor, geometry: ConvGeometry, function: str, shape: tuple[int, ...]
) -> Callable[[], Tensor]:
    """Return the call of one of the functions of per-example gradients alone.

    Args:
        a: ``[N, C, H, W]``.
        g: ``[1, N, K, H', W']``.
        geometry: A layer without a bias, whose entries are laid out after all weights.
        function: Name of the function.
        shape: What it fills.

    Returns:
        The call.
    """
    from nngeometry.backend.torch_hooks.grads import Conv2dJacobianFactory

    (vectors,) = g
    module, layer = convolution(geometry, a), _layer(geometry)

    def run() -> Tensor:
        buffer = a.new_zeros(shape)
        getattr(Conv2dJacobianFactory, function)(buffer, module, layer, a, vectors)
        return buffer

    return run


def prepare_diagonal(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the diagonal alone, for an input ``[N, C, H, W]`` and vectors ``[1, N, K, H', W']``."""
    run = prepare_gradients(a, g, geometry, "diag", (geometry.parameters,))
    return lambda: run().view(geometry.out_channels, -1)


def prepare_block(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the layer's block alone, for an input ``[N, C, H, W]`` and vectors ``[1, N, K, H', W']``."""
    return prepare_gradients(a, g, geometry, "layer_block", (geometry.parameters, geometry.parameters))


def prepare_output_factor(g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the output factor alone, for vectors ``[1, N, K, H', W']``."""
    from nngeometry.backend.torch_hooks.grads import Conv2dJacobianFactory

    (vectors,) = g
    module = convolution(geometry, g)

    def run() -> Tensor:
        gamma = g.new_zeros(geometry.out_channels, geometry.out_channels)
        Conv2dJacobianFactory.kfac_gg(gamma, module, module, None, vectors)
        return gamma

    return run


def prepare_correction(
    a: Tensor, g: Tensor, geometry: ConvGeometry, output_basis: Tensor, input_basis: Tensor
) -> Callable[[], Tensor]:
    """Return the call of EKFAC's correction alone, for the arguments of `prepare_diagonal` and the eigenvectors."""
    from nngeometry.backend.torch_hooks.grads import Conv2dJacobianFactory

    (vectors,) = g
    module = convolution(geometry, a)

    def run() -> Tensor:
        correction = a.new_zeros(geometry.parameters)
        Conv2dJacobianFactory.kfe_diag(correction, module, module, a, vectors, input_basis, output_basis)
        return correction.view(geometry.out_channels, -1)

    return run


def prepare_api(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call that computes the KFAC form, passes included."""
    from nngeometry.metrics import FIM_MonteCarlo
    from nngeometry.object import PMatKFAC
    from torch.utils.data import DataLoader, TensorDataset

    model, labels = classifier(geometry, a)
    loader = DataLoader(TensorDataset(a, labels), batch_size=a.shape[0])

    def run() -> Tensor:
        fisher = FIM_MonteCarlo(model, loader, PMatKFAC, device=str(a.device))
        ((omega, _),) = fisher.data.values()
        return omega

    return run


CONTESTANTS = (
    Contestant("nngeometry", prepare_factor, takes(bias=True, zeros_only=False), sum_over_examples, PACKAGE),
    Contestant("nngeometry_api", prepare_api, takes(bias=True, zeros_only=False, half=False), package=PACKAGE),
    Contestant("nngeometry", prepare_output_factor, takes_outputs, sum_over_examples, PACKAGE, "output_factor"),
    Contestant("nngeometry", prepare_diagonal, IN_FLOAT32, sum_over_examples, PACKAGE, "diagonal_fisher"),
    Contestant("nngeometry", prepare_block, IN_FLOAT32, sum_over_examples, PACKAGE, "block_fisher"),
    Contestant(
        "nngeometry",
        prepare_correction,
        takes(bias=True, zeros_only=False),
        sum_over_examples,
        PACKAGE,
        "eigenvalue_correction",
    ),
)
