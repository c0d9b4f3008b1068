"""ASDL (asdfghjkl on PyPI): its exact Fisher in the Kronecker shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kfc_bench.audit.library import Library


def blocks(
    model: nn.Sequential,
    loss: nn.Module,  # noqa: ARG001
    x: Tensor,
    labels: Tensor,  # noqa: ARG001
    kind: str = "cross_entropy",
) -> dict[str, Tensor]:
    """Return the blocks of the first layer."""
    import asdl

    config = asdl.FisherConfig(asdl.FISHER_EXACT, [asdl.SHAPE_KRON], kind, data_size=len(x))
    maker = asdl.get_fisher_maker(model, config)
    maker.setup_model_call(model, x)
    maker.forward_and_backward()
    layer: Any = model[0]
    if not hasattr(layer, "fisher"):
        return {}
    kron = layer.fisher.kron
    found = {"weight": torch.kron(kron.B, kron.A)}
    if layer.bias is not None and layer.bias.requires_grad:
        found["bias"] = kron.B
    return found


LIBRARY = Library(
    name="asdl",
    title="ASDL",
    module="asdl",
    distribution="asdfghjkl",
    blocks=blocks,
    convention="B (x) A; B alone is the bias's block, as in its own products with vectors. Of squared error its exact"
    " Fisher backpropagates the outputs themselves (`FisherExactMSE`): that of a normal distribution with identity"
    " covariance, a mean over examples, 3/2 of that of `nn.MSELoss()` with three outputs. It is held to that.",
    states_for={"squared error": {"fisher": "normal"}},
    arguments={"squared error": 'kind="mse"'},
    lacks={
        "joint bias": "it always keeps weight and bias apart",
        "reduce": "its Kronecker shape has one form",
        "sum": "its data_size divides each of both factors: by N they make a mean over examples, by 1 they make N times"
        " the sum",
    },
    notes={
        "padding_mode": "Its patches are cut from an input padded with zeros, whatever the mode.",
        "groups": "One input factor of all channels' patches: the block has more rows than the layer has weights."
        " Preconditioning a gradient with it then raises a RuntimeError about shapes.",
        "axes": "It knows nn.Linear, nn.Conv2d, normalisations and nn.Embedding; other layers get no Fisher.",
        "tokens": "Both factors are sums over tokens divided by N; a convolution's input factor is divided by |T| too.",
    },
)
