"""curvlinops: the hooks of its KFAC and EKFAC operators that accumulate one quantity, and the KFAC operator itself.

A hook on the outputs' gradients undoes a mean in the loss, which ours never have: there the loss is a sum.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from kfc_bench.contestants.contestant import (
    Contestant,
    Package,
    keep_progress_in_process,
    mean_over_positions,
    of_reduced_sums,
    silenced,
    sum_over_all,
    sum_over_examples,
    takes,
    takes_outputs,
)
from kfc_bench.contestants.network import classifier
from kfc_kernels import ConvGeometry

PACKAGE = Package("curvlinops", "curvlinops-for-pytorch")


def _operators(
    a: Tensor,
    geometry: ConvGeometry,
    kind: str = "KFACLinearOperator",
    *,
    reduction: str = "mean",
    approx: str = "expand",
) -> tuple[nn.Sequential, Callable[[], Any]]:
    """Return the network, and a maker of its operator: one operator accumulates, so each call needs a fresh one."""
    with silenced("`torch.jit", DeprecationWarning):
        import curvlinops

    keep_progress_in_process()
    model, labels = classifier(geometry, a)

    def operator() -> Any:
        return getattr(curvlinops, kind)(
            model,
            nn.CrossEntropyLoss(reduction=reduction),
            list(model.parameters()),
            [(a, labels)],
            check_deterministic=False,
            num_data=a.shape[0],
            num_per_example_loss_terms=1,
            separate_weight_and_bias=False,
            kfac_approx=approx,
        )

    return model, operator


def prepare_factor(a: Tensor, geometry: ConvGeometry, approx: str = "expand") -> Callable[[], Tensor]:
    """Return the call of the hook alone, for an input ``[N, C, H, W]``."""
    model, make = _operators(a, geometry, approx=approx)
    operator = make()

    def run() -> Tensor:
        operator._hook_accumulate_input_covariance(model[0], (a,), module_name="0")
        return operator._input_covariances.pop("0")

    return run


def prepare_output_factor(g: Tensor, geometry: ConvGeometry, approx: str = "expand") -> Callable[[], Tensor]:
    """Return the call of the hook alone, for vectors ``[1, N, K, H', W']``."""
    (vectors,) = g
    model, make = _operators(vectors, geometry, reduction="sum", approx=approx)
    operator = make()

    def run() -> Tensor:
        operator._accumulate_gradient_covariance(vectors, model[0], "0")
        return operator._gradient_covariances.pop("0")

    return run


def prepare_correction(
    a: Tensor, g: Tensor, geometry: ConvGeometry, output_basis: Tensor, input_basis: Tensor
) -> Callable[[], Tensor]:
    """Return the call of the hook alone, for ``[N, C, H, W]``, ``[1, N, K, H', W']`` and the eigenvectors."""
    (vectors,) = g
    model, make = _operators(a, geometry, "EKFACLinearOperator", reduction="sum")
    operator = make()
    operator._cached_activations["0"] = a
    operator._gradient_covariances_eigenvectors["0"] = output_basis
    operator._input_covariances_eigenvectors["0"] = input_basis

    def run() -> Tensor:
        operator._accumulate_corrected_eigenvalues(vectors, model[0], "0")
        corrected = operator._corrected_eigenvalues.pop("0")
        if not geometry.bias:
            (corrected,) = corrected.values()
        return corrected

    return run


def _of_mean_patches(geometry: ConvGeometry, batch: int) -> float:  # noqa: ARG001
    return float(geometry.positions**2)


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
    Contestant("curvlinops", prepare_output_factor, takes_outputs, sum_over_all, PACKAGE, "output_factor"),
    Contestant(
        "curvlinops",
        partial(prepare_factor, approx="reduce"),
        takes(bias=True, zeros_only=False),
        _of_mean_patches,
        PACKAGE,
        "reduced_input_factor",
    ),
    Contestant(
        "curvlinops",
        partial(prepare_output_factor, approx="reduce"),
        takes_outputs,
        of_reduced_sums,
        PACKAGE,
        "reduced_output_factor",
    ),
    Contestant(
        "curvlinops",
        prepare_correction,
        takes(bias=True, zeros_only=False),
        sum_over_examples,
        PACKAGE,
        "eigenvalue_correction",
    ),
)
