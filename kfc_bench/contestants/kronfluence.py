"""kronfluence: what the trackers of a convolution compute, and its fit of covariance matrices.

The fit is the function that its ``Analyzer`` calls; what the ``Analyzer`` adds is a progress bar and files on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kfc_bench.contestants.contestant import (
    Contestant,
    Package,
    keep_progress_in_process,
    silenced,
    sum_over_all,
    sum_over_examples,
    takes,
    takes_outputs,
)
from kfc_bench.contestants.network import classifier, convolution
from kfc_kernels import ConvGeometry

PACKAGE = Package("kronfluence", "kronfluence")
FACTOR = "activation_covariance"


def prepare_factor(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the factor alone, for an input ``[N, C, H, W]``."""
    from kronfluence.module.conv2d import TrackedConv2d
    from kronfluence.module.tracker.factor import CovarianceTracker

    module = TrackedConv2d("conv", convolution(geometry, a))

    def run() -> Tensor:
        tracker = CovarianceTracker(module)
        tracker._update_activation_covariance_matrix(*module.get_flattened_activation(a))
        omega = module.storage[FACTOR]
        tracker.release_memory()
        return omega

    return run


def prepare_output_factor(g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the gradient covariance alone, for vectors ``[1, N, K, H', W']``."""
    from kronfluence.module.conv2d import TrackedConv2d
    from kronfluence.module.tracker.factor import CovarianceTracker

    (vectors,) = g
    module = TrackedConv2d("conv", convolution(geometry, g))

    def run() -> Tensor:
        tracker = CovarianceTracker(module)
        tracker._update_gradient_covariance_matrix(*module.get_flattened_gradient(vectors))
        gamma = module.storage["gradient_covariance"]
        tracker.release_memory()
        return gamma

    return run


def prepare_diagonal(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call of the diagonal alone, for an input ``[N, C, H, W]`` and vectors ``[1, N, K, H', W']``."""
    return _lambda(a, g, geometry, "diagonal", {})


def prepare_correction(
    a: Tensor, g: Tensor, geometry: ConvGeometry, output_basis: Tensor, input_basis: Tensor
) -> Callable[[], Tensor]:
    """Return the call of EKFAC's correction alone, for the arguments of `prepare_diagonal` and the eigenvectors."""
    bases = {"activation_eigenvectors": input_basis, "gradient_eigenvectors": output_basis}
    values = {"activation_eigenvalues": input_basis[0], "gradient_eigenvalues": output_basis[0]}
    return _lambda(a, g, geometry, "ekfac", bases | values)


def _lambda(
    a: Tensor, g: Tensor, geometry: ConvGeometry, strategy: str, stored: dict[str, Tensor]
) -> Callable[[], Tensor]:
    """Return the call of the tracker's backward hook; the eigenvalues that are ``stored`` must be there, unused."""
    from kronfluence.arguments import FactorArguments
    from kronfluence.module.conv2d import TrackedConv2d
    from kronfluence.module.tracker.factor import LambdaTracker

    (vectors,) = g
    wide = torch.promote_types(a.dtype, torch.float32)
    arguments = FactorArguments(strategy=strategy, per_sample_gradient_dtype=wide, lambda_dtype=wide)
    module = TrackedConv2d("conv", convolution(geometry, a), factor_args=arguments)
    tracker = LambdaTracker(module)

    def run() -> Tensor:
        module.storage.update(stored)
        gradients = module.compute_per_sample_gradient(
            input_activation=a.to(wide, copy=True), output_gradient=vectors.to(wide)
        )
        tracker._update_lambda_matrix(gradients)
        result = module.storage["lambda_matrix"]
        tracker.release_memory()
        return result

    return run


def classification() -> Any:
    """Return the task that kronfluence wants to be told: the loss, on given or on sampled labels."""
    from kronfluence.task import Task

    class Classification(Task):  # type: ignore[misc]
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            images, labels = batch
            logits = model(images)
            if sample:
                labels = logits.detach().softmax(1).multinomial(1).squeeze(1)
            return functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    return Classification()


def prepare_api(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call that fits both covariance matrices, passes included."""
    from kronfluence.analyzer import prepare_model
    from kronfluence.arguments import FactorArguments
    from kronfluence.factor.covariance import fit_covariance_matrices_with_loader
    from kronfluence.utils.state import State

    keep_progress_in_process()
    network, labels = classifier(geometry, a)
    task = classification()
    model = prepare_model(network, task).to(a.device)
    state = State(cpu=a.device.type == "cpu")
    arguments = FactorArguments(activation_covariance_dtype=a.dtype, gradient_covariance_dtype=a.dtype)

    def run() -> Tensor:
        with silenced("`torch.cuda.amp.GradScaler", FutureWarning):
            _, factors = fit_covariance_matrices_with_loader(
                model, state, task, [(a, labels)], arguments, disable_tqdm=True
            )
        (omega,) = factors[FACTOR].values()
        return omega

    return run


CONTESTANTS = (
    Contestant("kronfluence", prepare_factor, takes(bias=True, zeros_only=False), sum_over_examples, PACKAGE),
    Contestant(
        "kronfluence_api", prepare_api, takes(bias=True, zeros_only=False, half=False), sum_over_examples, PACKAGE
    ),
    Contestant("kronfluence", prepare_output_factor, takes_outputs, sum_over_all, PACKAGE, "output_factor"),
    Contestant(
        "kronfluence",
        prepare_diagonal,
        takes(bias=True, zeros_only=False),
        sum_over_examples,
        PACKAGE,
        "diagonal_fisher",
    ),
    Contestant(
        "kronfluence",
        prepare_correction,
        takes(bias=True, zeros_only=False),
        sum_over_examples,
        PACKAGE,
        "eigenvalue_correction",
    ),
)
