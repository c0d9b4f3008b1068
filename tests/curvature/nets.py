"""Small float64 networks, and their Fisher matrices from the gradients of the log-likelihood alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn import functional

from kfc_bench.curvature.layers import find_layers
from kfc_bench.optim import NaturalGradient
from kfc_kernels import ConvGeometry

DAMPING = 0.1


class MeanOverPositions(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


@dataclass(frozen=True)
class Net:
    """A row of the table: how to build a network, one example's shape, and the likelihood of its outputs."""

    id: str
    layers: Callable[[], list[nn.Module]]
    shape: tuple[int, ...]
    likelihood: str = "categorical"

    def build(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(*self.layers()).double()

    def geometries(self) -> list[ConvGeometry]:
        """Read the geometries of the layers off one example."""
        found = []
        model = self.build()
        for layer in find_layers(model):
            layer.module.register_forward_pre_hook(
                lambda module, inputs: found.append(ConvGeometry.from_module(module, inputs[0]))
            )
        model(self.batch(1)[0])
        return found

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Draw inputs and targets."""
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(size, *self.shape, dtype=torch.float64, generator=generator)
        outputs = self.build()(x)
        if self.likelihood == "gaussian":
            return x, torch.randn(outputs.shape, dtype=torch.float64, generator=generator)
        return x, torch.randint(outputs.shape[1], (size,), generator=generator)


NETS = [
    Net("mlp", lambda: [nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)], (4,)),
    Net("mlp-gaussian", lambda: [nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)], (4,), "gaussian"),
    Net("mlp-no-bias", lambda: [nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)], (3,)),
    Net(
        "conv-linear",
        lambda: [
            nn.Conv2d(1, 2, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8, 3),
        ],
        (1, 4, 4),
    ),
    Net(
        "groups",
        lambda: [
            nn.Conv2d(4, 4, 2, groups=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 2, 2, groups=2, bias=False),
            nn.Flatten(),
            nn.Linear(2, 3),
        ],
        (4, 3, 3),
    ),
    Net(
        "conv1d",
        lambda: [nn.Conv1d(2, 3, 3, stride=2, bias=False), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(9, 2)],
        (2, 7),
        "gaussian",
    ),
    Net("shared", lambda: [nn.Linear(3, 4), nn.Tanh(), MeanOverPositions(), nn.Linear(4, 3)], (5, 3)),
]
every_net = pytest.mark.parametrize("net", NETS, ids=lambda net: net.id)


def named(name: str) -> Net:
    return next(net for net in NETS if net.id == name)


def loss_of(net: Net, outputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    if net.likelihood == "categorical":
        return functional.cross_entropy(outputs, targets, reduction=reduction)
    total = (outputs - targets).square().sum() / 2
    return total / len(outputs) if reduction == "mean" else total


def joined(rows: dict[str, Tensor]) -> list[Tensor]:
    """Lay per-parameter gradients out by layer, each output's bias beside its weights, flattened."""
    layers: dict[str, list[Tensor]] = {}
    for name, value in rows.items():
        layers.setdefault(name.rpartition(".")[0], []).append(value.reshape(len(value), -1))
    return [torch.cat(parts, dim=1).flatten() for parts in layers.values()]


def parameter_blocks(model: nn.Module) -> list[int]:
    return [len(layer) for layer in joined(dict(model.named_parameters()))]


def score(net: Net, model: nn.Module, example: Tensor, label: int | Tensor) -> Tensor:
    """Differentiate log r(label | f(example)) by all parameters (for a Gaussian, of unit variance)."""

    def log_likelihood(parameters: dict[str, Tensor]) -> Tensor:
        (outputs,) = functional_call(model, parameters, (example.unsqueeze(0),))
        if net.likelihood == "gaussian":
            return -(outputs - label).square().sum() / 2
        return outputs.log_softmax(0)[label]

    detached = {name: value.detach() for name, value in model.named_parameters()}
    return torch.cat(joined(grad(log_likelihood)(detached)))


def outer(rows: list[Tensor]) -> Tensor:
    return sum(torch.outer(row, row) for row in rows)


def expected_fisher(net: Net, model: nn.Module, x: Tensor) -> Tensor:
    """F of Eq. 3: the expectation over every label (for a Gaussian, over noise along each output) in closed form."""
    total = 0.0
    for example in x:
        (outputs,) = model(example.unsqueeze(0)).detach()
        if net.likelihood == "categorical":
            for label, probability in enumerate(outputs.softmax(0)):
                total = total + probability * outer([score(net, model, example, label)])
        else:
            total = total + outer(
                [score(net, model, example, outputs + unit) for unit in torch.eye(len(outputs)).double()]
            )
    return total / len(x)


def empirical_fisher(net: Net, model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return outer([score(net, model, *pair) for pair in zip(x, targets, strict=True)]) / len(x)


def observed(
    net: Net, approximation: str, *, size: int = 3, reduction: str = "mean", **options: object
) -> tuple[nn.Module, NaturalGradient]:
    """Build a net's optimizer and let it see one batch."""
    model = net.build()
    options = {"damping": DAMPING, "fisher": "type2", **options}
    optimizer = NaturalGradient(
        model, 0.1, likelihood=net.likelihood, approximation=approximation, reduction=reduction, **options
    )
    x, targets = net.batch(size)
    outputs = model(x)
    optimizer.backward(loss_of(net, outputs, targets, reduction), outputs)
    return model, optimizer


def diagonal_blocks(matrix: Tensor, sizes: list[int]) -> list[Tensor]:
    return [row.split(sizes, dim=1)[index] for index, row in enumerate(matrix.split(sizes))]
