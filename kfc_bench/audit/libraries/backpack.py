"""BackPACK: the Kronecker factors that its KFLR extension leaves at each parameter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kfc_bench.audit.library import Library


def blocks(model: nn.Sequential, loss: nn.Module, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the blocks of the first layer."""
    from backpack import backpack, extend
    from backpack.extensions import KFLR

    model, loss = extend(model), extend(loss)
    with backpack(KFLR()):
        loss(model(x), labels).backward()
    layer: Any = model[0]
    found = {"weight": torch.kron(*layer.weight.kflr)}
    if layer.bias is not None and layer.bias.requires_grad:
        (found["bias"],) = layer.bias.kflr
    return found


LIBRARY = Library(
    name="backpack",
    title="BackPACK",
    module="backpack",
    distribution="backpack-for-pytorch",
    blocks=blocks,
    convention="G (x) A; G sums gradients over positions first, as its docstring says, and is held to that.",
    states={"outputs": "reduce"},
    lacks={"joint bias": "it always keeps weight and bias apart", "reduce": "its KFLR has one form"},
    notes={"padding_mode": "Its patches are cut from an input padded with zeros, whatever the mode."},
    links={"groups": ("https://github.com/f-dangel/backpack/pull/167",)},
)
