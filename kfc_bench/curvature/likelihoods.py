"""Vectors to backpropagate, by likelihood and by the Fisher's source."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

Fisher = Literal["mc", "type2", "empirical"]
Likelihood = Literal["categorical", "gaussian"]
FISHERS: tuple[Fisher, ...] = get_args(Fisher)
LIKELIHOODS: tuple[Likelihood, ...] = get_args(Likelihood)


def sampled_vectors(outputs: Tensor, likelihood: Likelihood, *, samples: int, generator: torch.Generator) -> Tensor:
    """Sample would-be gradients of each example's own loss from the model's predictive distribution.

    Labels are drawn by inverting the distribution function at uniform numbers from a CPU generator, so that
    a seed gives the same draws on every device and in every precision.

    Args:
        outputs: Logits, or means of unit-variance Gaussians, ``[N, C]``.
        likelihood: Which of the two.
        samples: Draws M per example.
        generator: A CPU generator.

    Returns:
        ``[M, N, C]``, each scaled by 1/sqrt(M).
    """
    shape = (samples, *outputs.shape)
    if likelihood == "gaussian":
        noise = torch.randn(shape, dtype=torch.float64, generator=generator)
        return noise.to(outputs) / math.sqrt(samples)
    probabilities = outputs.softmax(1)
    uniform = torch.rand((samples, len(outputs), 1), dtype=torch.float64, generator=generator).to(outputs.device)
    below = probabilities.double().cumsum(1)[:, :-1] < uniform
    labels = below.sum(-1)
    return (probabilities - functional.one_hot(labels, outputs.shape[1])) / math.sqrt(samples)


def type2_vectors(outputs: Tensor, likelihood: Likelihood) -> Tensor:
    """Return the columns of a square root of each example's loss Hessian in the outputs.

    For a categorical likelihood sqrt(p_c) (onehot(c) - p), for a Gaussian one unit vectors.

    Args:
        outputs: Logits or means, ``[N, C]``.
        likelihood: Which of the two.

    Returns:
        ``[C, N, C]``.
    """
    classes = outputs.shape[1]
    unit = torch.eye(classes, dtype=outputs.dtype, device=outputs.device).unsqueeze(1)
    if likelihood == "gaussian":
        return unit.expand(-1, len(outputs), -1)
    probabilities = outputs.softmax(1)
    return probabilities.mT.sqrt().unsqueeze(-1) * (unit - probabilities)
