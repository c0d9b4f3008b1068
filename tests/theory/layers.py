"""What a network's layers see of a batch, their Kronecker products, and their exact blocks by autodiff."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call, jacrev
from torch.nn import functional

from kfc_kernels import ConvGeometry, input_factor, output_factor, reduced_input_factor, reduced_output_factor

Loss = Callable[[Tensor, Tensor], Tensor]


def built(layers: Sequence[nn.Module], seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(*layers).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        return model


@dataclass(frozen=True)
class Seen:
    """A layer's input ``[N, C, *in]`` and backpropagated vectors ``[V, N, K, *out]``."""

    geometry: ConvGeometry
    inputs: Tensor
    vectors: Tensor

    def expand(self) -> Tensor:
        return torch.kron(output_factor(self.vectors, self.geometry), input_factor(self.inputs, self.geometry))

    def reduce(self) -> Tensor:
        return torch.kron(
            reduced_output_factor(self.vectors, self.geometry), reduced_input_factor(self.inputs, self.geometry)
        )


def see(model: nn.Sequential, x: Tensor, vectors: Tensor) -> dict[str, Seen]:
    """Run a network layer by layer and backpropagate ``[V, *outputs]`` to the output of each that has parameters."""
    kept, a = [], x
    for name, module in model.named_children():
        inputs, a = a, module(a)
        if list(module.parameters()):
            kept.append((name, module, inputs.detach(), a))
    passes = torch.autograd.grad(a, [output for *_, output in kept], vectors, is_grads_batched=True)
    seen = {}
    for (name, module, inputs, _), gradients in zip(kept, passes, strict=True):
        geometry = ConvGeometry.from_module(module, inputs)
        if isinstance(module, nn.Linear):
            seen[name] = Seen(geometry, inputs.movedim(-1, 1), gradients.movedim(-1, 2))
        else:
            seen[name] = Seen(geometry, inputs, gradients)
    return seen


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum() / 2


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="sum")


def roots(outputs: Tensor, loss: Loss) -> Tensor:
    """Return the columns of a root of each example's loss's Hessian, ``[V, *outputs]`` (type 2)."""
    outputs = outputs.detach()
    if loss is cross_entropy:
        p = outputs.softmax(1)
        return p.mT.sqrt()[:, :, None] * (torch.eye(p.shape[1], dtype=p.dtype)[:, None] - p)
    size = outputs[0].numel()
    units = torch.eye(size, dtype=outputs.dtype).reshape(size, 1, *outputs.shape[1:])
    return units.expand(-1, *outputs.shape)


def joint_jacobian(model: nn.Sequential, name: str, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Differentiate ``function`` of the outputs by one layer's weights and bias, ``[numbers, K D]``, rows by output."""
    parameters = dict(model.get_submodule(name).named_parameters(prefix=name))
    rows = jacrev(lambda values: function(functional_call(model, values, (x,))).flatten())(parameters)
    joined = [row.reshape(*row.shape[:2], -1) for row in rows.values()]
    return torch.cat(joined, dim=2).flatten(1).detach()


def gauss_newton(model: nn.Sequential, name: str, x: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Form J^T H J of one layer, H the Hessian of the loss of the whole batch in its outputs."""
    outputs = model(x).detach()
    curvature = hessian(lambda flat: loss(flat.reshape(outputs.shape), targets), outputs.flatten())
    jacobian = joint_jacobian(model, name, lambda z: z, x)
    return jacobian.mT @ curvature @ jacobian


def empirical_fisher(model: nn.Sequential, name: str, x: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Form the sum over examples of the outer products of their own gradients."""

    def losses(outputs: Tensor) -> Tensor:
        pairs = zip(outputs.split(1), targets.split(1), strict=True)
        return torch.stack([loss(*pair) for pair in pairs])

    gradients = joint_jacobian(model, name, losses, x)
    return gradients.mT @ gradients


def loss_vectors(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Return each example's gradient of its own loss in its outputs, ``[1, *outputs]``."""
    outputs = outputs.detach().requires_grad_()
    return torch.autograd.grad(loss(outputs, targets), outputs)[0].unsqueeze(0)


def drawn_vectors(outputs: Tensor, loss: Loss, samples: int) -> Tensor:
    """Return would-be gradients of targets that the model draws, over the root of their number, ``[M, *outputs]``."""
    outputs, generator = outputs.detach(), torch.Generator().manual_seed(7)
    if loss is cross_entropy:
        p = outputs.softmax(1)
        labels = torch.multinomial(p, samples, replacement=True, generator=generator).mT
        return (p - functional.one_hot(labels, p.shape[1])) / samples**0.5
    return torch.randn(samples, *outputs.shape, dtype=outputs.dtype, generator=generator) / samples**0.5
