"""Predictive distributions: vectors to backpropagate, products with the Fisher of the outputs, and losses' scales."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

Fisher = Literal["mc", "type2", "empirical"]
Likelihood = Literal["categorical", "gaussian", "square", "bernoulli"]
Reduction = Literal["mean", "sum"]
FISHERS: tuple[Fisher, ...] = get_args(Fisher)
LIKELIHOODS: tuple[Likelihood, ...] = get_args(Likelihood)
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


def sampled_vectors(outputs: Tensor, likelihood: Likelihood, *, samples: int, generator: torch.Generator) -> Tensor:
    """Sample would-be gradients of each example's own loss from the model's predictive distribution.

    Labels are drawn by inverting the distribution function at uniform numbers from a CPU generator, so that
    a seed gives the same draws on every device and in every precision.

    Args:
        outputs: Logits ``[N, C]`` or ``[N, C, *positions]``, logits of Bernoullis, or means of unit-variance
            Gaussians, ``[N, *]``.
        likelihood: Which of these: ``"square"`` is Gaussian.
        samples: Draws M per example.
        generator: A CPU generator.

    Returns:
        ``[M, N, *]``, each scaled by 1/sqrt(M).
    """
    shape = (samples, *outputs.shape)
    if likelihood in ("gaussian", "square"):
        noise = torch.randn(shape, dtype=torch.float64, generator=generator, device="cpu")
        return noise.to(outputs) / math.sqrt(samples)
    if likelihood == "bernoulli":
        probabilities = outputs.sigmoid()
        uniform = torch.rand(shape, dtype=torch.float64, generator=generator, device="cpu").to(outputs.device)
        return (probabilities - (uniform < probabilities.double()).to(outputs)) / math.sqrt(samples)
    probabilities = outputs.softmax(1)
    by_class = probabilities.movedim(1, -1)
    drawn = (samples, *by_class.shape[:-1], 1)
    uniform = torch.rand(drawn, dtype=torch.float64, generator=generator, device="cpu")
    below = by_class.double().cumsum(-1)[..., :-1] < uniform.to(outputs.device)
    labels = functional.one_hot(below.sum(-1), outputs.shape[1]).movedim(-1, 2)
    return (probabilities - labels) / math.sqrt(samples)


def type2_vectors(outputs: Tensor, likelihood: Likelihood) -> Tensor:
    """Return the columns of a square root of each example's loss Hessian in the outputs.

    For a categorical likelihood sqrt(p_c) (onehot(c) - p) at each position, for a Gaussian unit vectors, for Bernoullis
    sqrt(p (1 - p)) times unit vectors.

    Args:
        outputs: As in `sampled_vectors`.
        likelihood: Likewise.

    Returns:
        ``[V, N, *]``, V the number of outputs per example.
    """
    each = outputs[0].numel()
    unit = torch.eye(each, dtype=outputs.dtype, device=outputs.device).reshape(each, 1, *outputs.shape[1:])
    if likelihood in ("gaussian", "square"):
        return unit.expand(-1, *outputs.shape)
    if likelihood == "bernoulli":
        probabilities = outputs.sigmoid()
        return unit * (probabilities * (1 - probabilities)).sqrt()
    probabilities = outputs.softmax(1)
    roots = probabilities.sqrt() * unit
    return roots - roots.sum(2, keepdim=True) * probabilities


def fisher_products(outputs: Tensor, tangents: Tensor, likelihood: Likelihood) -> Tensor:
    """Compute u^T F_R u of each example, F_R the Fisher of its outputs (section 3.2; for a softmax diag(p) - p p^T).

    Args:
        outputs: As in `sampled_vectors`.
        tangents: u, shaped as ``outputs``.
        likelihood: Likewise.

    Returns:
        Shaped as ``outputs`` without the class axis for a categorical likelihood, else as ``outputs``.
    """
    if likelihood in ("gaussian", "square"):
        return tangents.square()
    if likelihood == "bernoulli":
        probabilities = outputs.sigmoid()
        return probabilities * (1 - probabilities) * tangents.square()
    probabilities = outputs.softmax(1)
    return (probabilities * tangents.square()).sum(1) - (probabilities * tangents).sum(1).square()


def loss_scale(outputs: Tensor, likelihood: Likelihood, reduction: Reduction, mask: Tensor | None) -> float:
    """Return s such that the loss is s times the mean, over the examples that count, of their negative log-likelihood.

    The curvature that belongs to a loss is then s times the Fisher. ``"categorical"`` is torch's cross-entropy, whose
    mean is over examples and positions; ``"bernoulli"`` its binary cross-entropy with logits and ``"square"`` its
    squared error, whose means are over all elements; ``"gaussian"`` half the squared error, its mean over examples.

    Args:
        outputs: ``[N, *]``.
        likelihood: One of `LIKELIHOODS`.
        reduction: ``"mean"`` or ``"sum"``.
        mask: Which examples ``[N]``, or which of their positions ``[N, *positions]``, count; None for all.

    Returns:
        s.
    """
    examples = len(outputs) if mask is None else int(counted(mask).sum())
    half = 2.0 if likelihood == "square" else 1.0
    if reduction == "sum":
        return half * examples
    if likelihood == "gaussian":
        return 1.0
    each = outputs[0].numel() // (outputs.shape[1] if likelihood == "categorical" else 1)
    terms = len(outputs) * each if mask is None else int(mask.sum()) * (each if mask.ndim == 1 else 1)
    return half * examples / terms


def counted(mask: Tensor) -> Tensor:
    """Tell which examples count at one position at least, ``[N]``."""
    return mask.flatten(1).any(1) if mask.ndim > 1 else mask
