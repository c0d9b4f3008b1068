"""NNGeometry: its closed-form Fisher of a classifier in the KFAC representation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kfc_bench.audit.library import DEPTHWISE, Library


def blocks(model: nn.Sequential, loss: nn.Module, x: Tensor, labels: Tensor) -> dict[str, Tensor]:  # noqa: ARG001
    """Return the block of the first layer."""
    from nngeometry.metrics import FIM
    from nngeometry.object import PMatKFAC
    from torch.utils.data import DataLoader, TensorDataset

    fisher = FIM(model, DataLoader(TensorDataset(x, labels), batch_size=len(x)), PMatKFAC)
    a, g = fisher.data["0"]
    layer: Any = model[0]
    return {"weight" if layer.bias is None else "weight and bias": torch.kron(g, a)}


LIBRARY = Library(
    name="nngeometry",
    title="NNGeometry",
    module="nngeometry",
    distribution="nngeometry",
    blocks=blocks,
    convention="G (x) A.",
    lacks={
        "bias apart": "it always joins the bias to the weight",
        "reduce": "its KFAC representation has one form",
        "loss": "its Fisher is given a kind of output, not a loss",
    },
    notes={
        "padding_mode": "Its patches are cut from an input padded with zeros, whatever the mode.",
        "groups": "One input factor of all channels' patches: the block has more rows than the layer has weights."
        " Its solve with a gradient then raises a RuntimeError about shapes.",
    },
    links={"groups": (DEPTHWISE,), "tokens": ("https://github.com/tfjgeorge/nngeometry/pull/123",)},
)
