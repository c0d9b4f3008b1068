"""kronfluence: the covariance matrices that its Analyzer fits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kfc_bench.audit.library import Library, Quotation


def blocks(model: nn.Sequential, loss: nn.Module, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the block of the first layer."""
    from tempfile import TemporaryDirectory

    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments
    from kronfluence.task import Task
    from torch.utils.data import TensorDataset

    class Training(Task):  # type: ignore[misc]
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:  # noqa: ARG002
            pairs = zip(model(batch[0]).split(1), batch[1].split(1), strict=True)
            return torch.stack([loss(output, label) for output, label in pairs]).sum()

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    task, double = Training(), torch.float64
    arguments = FactorArguments(
        use_empirical_fisher=True, activation_covariance_dtype=double, gradient_covariance_dtype=double
    )
    layer: Any = model[0]
    trained = "weight" if layer.bias is None else "weight and bias"
    with TemporaryDirectory() as folder:
        analyzer = Analyzer("audit", prepare_model(model, task), task, cpu=True, disable_tqdm=True, output_dir=folder)
        analyzer.fit_covariance_matrices(
            "factors", TensorDataset(x, labels), per_device_batch_size=len(x), factor_args=arguments
        )
        found = {name: values.get("0") for name, values in analyzer.load_covariance_matrices("factors").items()}
    if found["activation_covariance"] is None:
        return {}
    a = found["activation_covariance"] / found["num_activation_covariance_processed"]
    g = found["gradient_covariance"] / found["num_gradient_covariance_processed"]
    return {trained: torch.kron(g, a)}


LIBRARY = Library(
    name="kronfluence",
    title="kronfluence",
    module="kronfluence",
    distribution="kronfluence",
    blocks=blocks,
    convention="Gradient covariance (x) activation covariance, each over its stored count N|T|, as its K-FAC strategy"
    " takes them. Both are means over positions, so that the block is 1/|T| of KFC's, of convolutions and tokens alike;"
    " it is held to that. Its user writes the loss, here the sum of each example's own.",
    states={"fisher": "empirical", "inputs": "mean"},
    lacks={
        "bias apart": "it always joins the bias to the weight",
        "reduce": "it has one form",
        "sum": "its user writes the loss, but its stored counts make means over examples of any",
    },
    documented={
        "groups": Quotation("averaged over channel groups", "kronfluence.module.conv2d"),
        "axes": Quotation("all applicable modules (e.g., nn.Linear and nn.Conv2d)", "kronfluence.task"),
    },
    notes={
        "padding_mode": "Its patches are cut from an input padded with zeros, whatever the mode.",
        "groups": "Channels are averaged over groups before the product: one input factor stands for all groups,"
        " as in singd, on which its patches are based.",
        "axes": "It tracks nn.Linear and nn.Conv2d alone; other layers get no covariances.",
    },
    links={"groups": ("https://github.com/f-dangel/singd/issues/58",)},
)
