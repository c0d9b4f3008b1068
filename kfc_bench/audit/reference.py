"""What float64 says of a layer's Fisher block: from the layer's own outputs and autograd, whatever its options are.

It needs torch alone, and every script of the audit begins with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call


def patches(layer: Any, x: Tensor) -> Tensor:
    """Read off what each output sees of the input, [N, K, T, D]: the layer's outputs at each unit weight."""
    zeros = {name: torch.zeros_like(parameter) for name, parameter in layer.named_parameters()}
    units = torch.eye(layer.weight[0].numel()).view(-1, *layer.weight[0].shape)
    outputs = [functional_call(layer, {**zeros, "weight": unit.expand_as(layer.weight)}, x) for unit in units]
    return torch.stack([positions_last(layer, output) for output in outputs], -1)


def positions_last(layer: Any, output: Tensor) -> Tensor:
    """Return an output, or a gradient of one, as [N, K, T]."""
    return output.movedim(-1 if isinstance(layer, nn.Linear) else 1, 1).reshape(len(output), layer.weight.shape[0], -1)


def gradients(model: nn.Sequential, loss: nn.Module, x: Tensor, labels: Tensor, fisher: str) -> Tensor:
    """Backpropagate each example's own loss to the first layer's output, [V, N, K, T], or its Hessian's square root."""
    y = model[0](x).detach().requires_grad_()
    logits = model[1:](y)

    def own(derivative: Any) -> Tensor:
        pairs = zip(logits.detach().split(1), labels.split(1), strict=True)
        return torch.cat([derivative(lambda z, label=label: loss(z, label), output) for output, label in pairs])

    if fisher == "normal":
        columns = torch.eye(logits.shape[1]).unsqueeze(1).expand(-1, len(logits), -1)
    elif fisher == "empirical":
        columns = own(jacobian).unsqueeze(0)
    else:
        values, vectors = torch.linalg.eigh(own(hessian).squeeze(2))
        columns = (vectors * values.clamp(min=0).sqrt().unsqueeze(1)).movedim(2, 0)
    return torch.stack(
        [positions_last(model[0], torch.autograd.grad(logits, y, column, retain_graph=True)[0]) for column in columns]
    )


def block(layer: Any, seen: Tensor, g: Tensor, inputs: str, outputs: str) -> Tensor:
    """Form a Fisher block, [K D, K D], of what the outputs see, [N, K, T, D]; zero between outputs of two groups."""
    examples, channels, positions, size = seen.shape
    if inputs == "reduce":
        seen = seen.mean(2, keepdim=True)
    elif inputs == "mean":
        seen = seen / positions**0.5
    if outputs == "reduce":
        g = g.sum(3, keepdim=True) * positions**0.5
    omega = torch.einsum("nktd,nkte->kde", seen, seen) / examples
    gamma = torch.einsum("vnkt,vnlt->kl", g, g) / (examples * positions)
    return torch.einsum("kl,kde->kdle", gamma, omega).reshape(2 * [channels * size]) * within_groups(layer, size)


def within_groups(layer: Any, size: int) -> Tensor:
    """Mark the entries of a block, [K D, K D], that two weights of one group have."""
    groups = getattr(layer, "groups", 1)
    side = len(layer.weight) * size // groups
    return torch.block_diag(*[torch.ones(side, side)] * groups)


def reference(
    model: nn.Sequential,
    loss: nn.Module,
    x: Tensor,
    labels: Tensor,
    *,
    fisher: str = "type2",
    inputs: str = "expand",
    outputs: str = "expand",
) -> dict[str, Tensor]:
    """Return the first layer's blocks: of its weight, of its bias, of both (a row's bias after its weights).

    Args:
        model: The layer and what follows it.
        loss: Its reduction, "mean" or "sum", is the blocks'.
        x: Inputs.
        labels: Labels, one per example.
        fisher: "type2", the Hessian of the loss pulled back; "empirical", from the labels; or "normal", that of a
            normal distribution around the outputs with identity covariance, whose loss is half the squared error.
        inputs: "expand" sums over positions (KFC's input factor), "mean" takes the mean of the products; "reduce" takes
            the positions' mean before the product.
        outputs: "expand" takes the mean over positions (KFC's output factor); "reduce" sums before the product.

    Returns:
        The blocks, in float64.
    """
    layer: Any = model[0]
    seen, g = patches(layer, x), gradients(model, loss, x, labels, fisher)
    ones = torch.ones_like(seen[..., :1])
    scale = len(x) if loss.reduction == "sum" else 1
    return {
        "weight": scale * block(layer, seen, g, inputs, outputs),
        "bias": scale * block(layer, ones, g, outputs, outputs),
        "weight and bias": scale * block(layer, torch.cat([seen, ones], -1), g, inputs, outputs),
    }


def difference(layer: Any, found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over the norm of what is expected, within groups; nan if the shapes differ."""
    if found.shape != expected.shape:
        return float("nan")
    kept = found.detach() * within_groups(layer, len(expected) // len(layer.weight))
    return float((kept - expected).norm() / expected.norm())
