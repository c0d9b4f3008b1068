"""NNGeometry: the input factor of its convolution layers, and its Monte Carlo Fisher in the KFAC form."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from kfc_bench.contestants.contestant import Contestant, Package, sum_over_examples, takes
from kfc_bench.contestants.network import classifier, convolution
from kfc_kernels import ConvGeometry

PACKAGE = Package("nngeometry", "nngeometry")


def prepare_factor(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the factor alone, for an input ``[N, C, H, W]``."""
    from nngeometry.backend.torch_hooks.grads import Conv2dJacobianFactory

    module = convolution(geometry, a)

    def run() -> Tensor:
        omega = a.new_zeros(geometry.patch_dim, geometry.patch_dim)
        Conv2dJacobianFactory.kfac_xx(omega, module, module, a, None)
        return omega

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
)
