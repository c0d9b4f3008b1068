"""curvlinops: the hook of its KFAC operator that accumulates the input factor, and the operator itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from kfc_bench.contestants.contestant import (
    Contestant,
    Package,
    keep_progress_in_process,
    mean_over_positions,
    silenced,
    takes,
)
from kfc_bench.contestants.network import classifier
from kfc_kernels import ConvGeometry

PACKAGE = Package("curvlinops", "curvlinops-for-pytorch")


def _operators(a: Tensor, geometry: ConvGeometry) -> tuple[nn.Sequential, Callable[[], Any]]:
    """Return the network, and a maker of its operator: one operator accumulates, so each call needs a fresh one."""
    with silenced("`torch.jit", DeprecationWarning):
        from curvlinops import KFACLinearOperator

    keep_progress_in_process()
    model, labels = classifier(geometry, a)

    def operator() -> Any:
        return KFACLinearOperator(
            model,
            nn.CrossEntropyLoss(),
            list(model.parameters()),
            [(a, labels)],
            check_deterministic=False,
            num_data=a.shape[0],
            num_per_example_loss_terms=1,
            separate_weight_and_bias=False,
        )

    return model, operator


def prepare_factor(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the hook alone, for an input ``[N, C, H, W]``."""
    model, make = _operators(a, geometry)
    operator = make()

    def run() -> Tensor:
        operator._hook_accumulate_input_covariance(model[0], (a,), module_name="0")
        return operator._input_covariances.pop("0")

    return run


def prepare_api(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call that computes the operator's Kronecker factors, passes included."""
    _, make = _operators(a, geometry)

    def run() -> Tensor:
        operator = make()
        operator.compute_kronecker_factors()
        return operator._input_covariances["0"]

    return run


CONTESTANTS = (
    Contestant("curvlinops", prepare_factor, takes(bias=True, zeros_only=False), mean_over_positions, PACKAGE),
    Contestant(
        "curvlinops_api", prepare_api, takes(bias=True, zeros_only=False, half=False), mean_over_positions, PACKAGE
    ),
)
