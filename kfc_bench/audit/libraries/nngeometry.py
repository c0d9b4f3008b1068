"""NNGeometry: its closed-form Fisher in the KFAC representation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kfc_bench.audit.library import Library


def blocks(
    model: nn.Sequential,
    loss: nn.Module,  # noqa: ARG001
    x: Tensor,
    labels: Tensor,
    variant: str = "classif_logits",
) -> dict[str, Tensor]:
    """Return the block of the first layer."""
    from nngeometry.metrics import FIM
    from nngeometry.object import PMatKFAC
    from torch.utils.data import DataLoader, TensorDataset

    fisher = FIM(model, DataLoader(TensorDataset(x, labels), batch_size=len(x)), PMatKFAC, variant)
    a, g = fisher.data["0"]
    layer: Any = model[0]
    return {"weight" if layer.bias is None else "weight and bias": torch.kron(g, a)}


LIBRARY = Library(
    name="nngeometry",
    title="NNGeometry",
    module="nngeometry",
    distribution="nngeometry",
    blocks=blocks,
    convention='G (x) A. Of squared error its Fisher is, as the docstring of `FIM` says, that of "a normal distribution'
    ' with identity covariance", a mean over examples, 3/2 of that of `nn.MSELoss()` with three outputs. It is held to'
    " that.",
    states_for={"squared error": {"fisher": "normal"}},
    arguments={"squared error": 'variant="regression"'},
    lacks={
        "bias apart": "it always joins the bias to the weight",
        "reduce": "its KFAC representation has one form",
        "sum": "its Fisher is always a mean over the examples of its loader",
    },
    notes={
        "padding_mode": "Its patches are cut from an input padded with zeros, whatever the mode.",
        "groups": "One input factor of all channels' patches: the block has more rows than the layer has weights."
        " Its solve with a gradient then raises a RuntimeError about shapes.",
    },
    links={"tokens": ("https://github.com/tfjgeorge/nngeometry/pull/123",)},
)
