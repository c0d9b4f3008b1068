"""The optimizers of the convergence experiment by name, and how each is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.curvature.likelihoods import Fisher
from kfc_bench.experiments.convergence.muon import WeightMuon, hidden_weights
from kfc_bench.experiments.convergence.trial import TrialCase
from kfc_bench.optim import KFCPre, NaturalGradient

Built = list[torch.optim.Optimizer]
Build = Callable[[nn.Module, TrialCase], Built]

SECOND_BETA = 0.999
"""Adam's beta_2, torch's default."""


@dataclass(frozen=True)
class Kind:
    """An optimizer that a trial can train with.

    Attributes:
        build: Makes it, as one or more of torch's that share out the network's parameters.
        momentum: mu or beta_1 unless the suite says otherwise; None where there is nothing of the kind.
        natural: Whether it preconditions with a Fisher approximation: it has a damping, and can clip and initialise.
        clip: C unless the suite says otherwise; None for no clipping.
        initialize: Whether statistics come from the full training set at first, unless the suite says otherwise.
    """

    build: Build
    momentum: float | None
    natural: bool = False
    clip: float | None = None
    initialize: bool = False


def _first_order(optimizer: Callable[..., torch.optim.Optimizer], momentum: Callable[[float], dict[str, Any]]) -> Build:
    """Return how to build one of torch's, given what it calls its momentum; for-each steps, as all contestants."""

    def build(model: nn.Module, case: TrialCase) -> Built:
        values = case.hyperparameters
        own = momentum(values.momentum)
        return [optimizer(model.parameters(), lr=values.lr, weight_decay=values.weight_decay, foreach=True, **own)]

    return build


def _heavy_ball(momentum: float) -> dict[str, Any]:
    return {"momentum": momentum}


def _betas(momentum: float) -> dict[str, Any]:
    return {"betas": (momentum, SECOND_BETA)}


def _muon(model: nn.Module, case: TrialCase) -> Built:
    """Build Muon for the hidden weights and AdamW for what is left, both at the tuned rate, momentum and decay."""
    values = case.hyperparameters
    weights = hidden_weights(model)
    hidden = {id(weight) for weight in weights}
    others = [parameter for parameter in model.parameters() if id(parameter) not in hidden]
    adamw = torch.optim.AdamW(
        others, lr=values.lr, weight_decay=values.weight_decay, foreach=True, **_betas(values.momentum)
    )
    if not weights:
        return [adamw]
    muon = WeightMuon(weights, values.lr, momentum=values.momentum, weight_decay=values.weight_decay)
    return [muon, adamw]


def _natural(optimizer: Callable[..., NaturalGradient], **own: Any) -> Build:
    def build(model: nn.Module, case: TrialCase) -> Built:
        values, setting = case.hyperparameters, case.setting
        return [
            optimizer(
                model,
                values.lr,
                momentum=values.momentum,
                weight_decay=values.weight_decay,
                damping=cast("float", values.damping),
                fisher=cast("Fisher", setting.fisher),
                statistics_every=setting.statistics_every,
                inverses_every=setting.inverses_every,
                clip=case.clip,
                seed=case.seed,
                foreach=True,
                **own,
            )
        ]

    return build


OPTIMIZERS: dict[str, Kind] = {
    "sgd": Kind(_first_order(torch.optim.SGD, _heavy_ball), 0.9),
    "adam": Kind(_first_order(torch.optim.Adam, _betas), 0.9),
    "adamw": Kind(_first_order(torch.optim.AdamW, _betas), 0.9),
    "adagrad": Kind(_first_order(torch.optim.Adagrad, lambda _: {}), None),
    "rmsprop": Kind(_first_order(torch.optim.RMSprop, _heavy_ball), 0.0),
    "muon": Kind(_muon, 0.95),
    "kfc_pre": Kind(_natural(KFCPre), 0.9, natural=True, clip=0.3, initialize=True),
    **{
        name: Kind(_natural(NaturalGradient, approximation=name), 0.9, natural=True)
        for name in APPROXIMATIONS
        if name != "identity"
    },
}
"""What trains: torch's own, Algorithm 1 of Grosse & Martens (2016), and plain natural gradient with any approximation.

``weight_decay`` is the coefficient of the l2 term, but AdamW and Muon take it off the weights beside the gradient.
``kfc_pre`` is Algorithm 1 but for its averaging, which is every trial's alike.
"""
