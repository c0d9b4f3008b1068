"""kronfluence: the activation covariance of a tracked convolution, and its fit of covariance matrices.

The fit is the function that its ``Analyzer`` calls; what the ``Analyzer`` adds is a progress bar and files on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from kfc_bench.contestants.contestant import (
    Contestant,
    Package,
    keep_progress_in_process,
    silenced,
    sum_over_examples,
    takes,
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
)
