"""Muon for convolutions: their weights as the matrices that it orthogonalises the gradients of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class WeightMuon(torch.optim.Muon):
    """``torch.optim.Muon``, which takes matrices alone, on weights ``[K, ...]`` seen as matrices ``[K, D]``.

    Each parameter of it is a view of a weight, of the same storage; its gradient is the view of the weight's. Columns
    are in the order in which the weight lies in memory, which makes no difference to an orthogonalisation.

    Args:
        weights: Contiguous or channels last, each of two dimensions or more.
        lr: Learning rate, multiplied with 0.2 sqrt(max(K, D)): updates as large as AdamW's, so that the two can share
            one rate (``adjust_lr_fn="match_rms_adamw"``).
        momentum: mu, of Nesterov's kind.
        weight_decay: lambda, decoupled from the gradient.
    """

    def __init__(self, weights: Sequence[Tensor], lr: float, *, momentum: float, weight_decay: float) -> None:
        self._weights = tuple(weights)
        self._views = [nn.Parameter(_as_matrix(weight.detach(), weight)) for weight in weights]
        super().__init__(
            self._views, lr=lr, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the views and of the weights."""
        super().zero_grad(set_to_none)
        for weight in self._weights:
            weight.grad = None

    def step(self) -> None:  # type: ignore[override]
        """Give the views the weights' gradients, and take a step."""
        for view, weight in zip(self._views, self._weights, strict=True):
            view.grad = None if weight.grad is None else _as_matrix(weight.grad, weight)
        super().step()  # type: ignore[no-untyped-call]


def _as_matrix(tensor: Tensor, weight: Tensor) -> Tensor:
    """View a weight or its gradient as ``[K, D]``, columns in the order of the weight's memory."""
    return tensor.flatten(1) if weight.is_contiguous() else tensor.movedim(1, -1).flatten(1)


def hidden_weights(model: nn.Module) -> list[Tensor]:
    """Find what Muon is made for: the weights of convolutions and linear layers but the first and the last.

    Args:
        model: The network, its layers registered in the order in which they run.

    Returns:
        The weights; none where there are no more than two layers.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return [layer.weight for layer in layers[1:-1]]
