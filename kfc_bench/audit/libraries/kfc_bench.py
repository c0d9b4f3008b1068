"""KFC Bench's own: what `NaturalGradient` holds of the first layer after one backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kfc_bench.audit.library import Library


def blocks(model: nn.Sequential, loss: nn.Module, x: Tensor, labels: Tensor, **arguments: Any) -> dict[str, Tensor]:
    """Return the block of the first layer."""
    from kfc_bench.optim import NaturalGradient

    likelihood: Any = "square" if isinstance(loss, nn.MSELoss) else "categorical"
    reduction: Any = loss.reduction
    optimizer = NaturalGradient(model, 0.1, likelihood=likelihood, reduction=reduction, fisher="type2", **arguments)
    logits = model(x)
    optimizer.backward(loss(logits, labels), logits)
    omega, gamma = optimizer.curvature.statistics[0]
    if omega.ndim == 2:
        omega, gamma = omega.unsqueeze(0), gamma.unsqueeze(0)
    layer: Any = model[0]
    trained = "weight and bias" if layer.bias is not None and layer.bias.requires_grad else "weight"
    return {trained: torch.block_diag(*map(torch.kron, gamma, omega))}


LIBRARY = Library(
    name="kfc_bench",
    title="KFC Bench",
    module="kfc_bench",
    distribution="kfc-bench",
    blocks=blocks,
    convention="Gamma (x) Omega, one such block for each group of channels.",
    arguments={"reduce": 'approximation="kfc_reduce"'},
    lacks={"bias apart": "it always joins the bias to the weight"},
)
