"""curvlinops: the Kronecker factors in its KFAC operator's state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kfc_bench.audit.library import Library, Quotation


def blocks(model: nn.Sequential, loss: nn.Module, x: Tensor, labels: Tensor, **arguments: Any) -> dict[str, Tensor]:
    """Return the blocks of the first layer."""
    from curvlinops import FisherType, KFACLinearOperator

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    operator = KFACLinearOperator(
        model, loss, trained, [(x, labels)], fisher_type=FisherType.TYPE2, check_deterministic=False, **arguments
    )
    operator.compute_kronecker_factors()
    state = operator.state_dict()
    a, g = state["input_covariances"]["0"], state["gradient_covariances"]["0"]
    layer: Any = model[0]
    if layer.bias is None or not layer.bias.requires_grad:
        return {"weight": torch.kron(g, a)}
    if not state["separate_weight_and_bias"]:
        return {"weight and bias": torch.kron(g, a)}
    return {"weight": torch.kron(g, a), "bias": g}


LIBRARY = Library(
    name="curvlinops",
    title="curvlinops",
    module="curvlinops",
    distribution="curvlinops-for-pytorch",
    blocks=blocks,
    convention="Gradient covariance (x) input covariance; apart, the gradient covariance is the bias's block.",
    arguments={
        "joint bias": "separate_weight_and_bias=False",
        "bias apart": "separate_weight_and_bias=True",
        "reduce": 'kfac_approx="reduce"',
    },
    documented={"groups": Quotation("The patches are averaged over channel groups.", "curvlinops.kfac_utils")},
    notes={
        "padding_mode": "Its patches are cut from an input padded with zeros, whatever the mode.",
        "groups": "Channels are averaged over groups before the product: one input factor stands for all groups,"
        " as in singd, on which its patches are based.",
    },
    links={"groups": ("https://github.com/f-dangel/singd/issues/58",)},
)
