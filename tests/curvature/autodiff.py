"""Fishers of networks of any layers as J^T H J, Jacobians and Hessians by autograd alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.nn import functional

from kfc_bench.curvature.layers import find_layers
from kfc_bench.optim import NaturalGradient
from tests.curvature.nets import DAMPING, diagonal_blocks

TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network in float64 and draw all its parameters, those that torch starts at 0 and 1 too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build().double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.7)
    return model


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def own_loss(outputs: Tensor) -> Tensor:
    """Return one example's cross entropy, ``[1, C, *positions]``."""
    return functional.cross_entropy(outputs, torch.zeros(1, *outputs.shape[2:], dtype=torch.long), reduction="sum")


def fisher_of(runs: Sequence[Callable[[], Tensor]], parameters: Sequence[Tensor]) -> Tensor:
    """Return the mean of J^T H J over examples, J of the parameters laid out one after the other."""
    total = 0.0
    for run in runs:
        outputs = run()
        rows = []
        for output in outputs.flatten():
            gradients = torch.autograd.grad(output, parameters, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
        jacobian = torch.stack(rows)
        curvature = hessian(own_loss, outputs.detach()).reshape(len(rows), len(rows))
        total = total + jacobian.T @ curvature @ jacobian
    return total / len(runs)


def fisher(model: nn.Module, x: Tensor) -> tuple[Tensor, list[int]]:
    """Return the Fisher in the order of the layers' joint gradients, and the layers' sizes."""
    layers = find_layers(model)
    parameters = [parameter for layer in layers for parameter in layer.parameters]
    matrix = fisher_of([lambda example=example: model(example.unsqueeze(0)) for example in x], parameters)
    places = iter(torch.arange(len(matrix)).split([parameter.numel() for parameter in parameters]))
    joint = [
        layer.joint([next(places).reshape(parameter.shape) for parameter in layer.parameters]).flatten()
        for layer in layers
    ]
    order = torch.cat(joint)
    return matrix[order][:, order], [len(layer) for layer in joint]


def blocks(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return each layer's block, by name."""
    matrix, sizes = fisher(model, x)
    names = [layer.name for layer in find_layers(model)]
    return dict(zip(names, diagonal_blocks(matrix, sizes), strict=True))


def see(model: nn.Module, x: Tensor, approximation: str, **options: object) -> NaturalGradient:
    """Build an optimizer and let it see one batch."""
    options = {"damping": DAMPING, "fisher": "type2", **options}
    optimizer = NaturalGradient(model, 0.1, approximation=approximation, **options)
    outputs = model(x)
    optimizer.backward(outputs.logsumexp(1).mean(), outputs)
    return optimizer


def statistics(optimizer: NaturalGradient, model: nn.Module) -> dict[str, list[Tensor]]:
    """Return each layer's statistics, by name."""
    return dict(zip([layer.name for layer in find_layers(model)], optimizer.curvature.statistics, strict=True))
