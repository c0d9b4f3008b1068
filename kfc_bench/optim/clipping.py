"""Clipping by v^T F v, with the exact Fisher on a part of the batch (supplement B.1, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.utils._pytree import tree_map_only

from kfc_bench.curvature.likelihoods import Likelihood, Reduction, fisher_products, loss_scale


class FisherClip:
    """Keeps a network's last inputs, and measures how far a step would move its predictions.

    Args:
        model: The network, before any ``torch.compile``.
        likelihood: Of its outputs.
        reduction: Of the loss.
        share: Part of the batch that the products run on, its first examples.
    """

    def __init__(self, model: nn.Module, likelihood: Likelihood, reduction: Reduction, share: float) -> None:
        self._model = model
        self._likelihood = likelihood
        self._reduction = reduction
        self._share = share
        self._inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._measuring = False
        model.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG002
        if torch.is_grad_enabled() and not self._measuring:
            self._inputs = (args, kwargs)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the network run, or a part of it once more, without a trace."""
        self._measuring = True
        try:
            yield
        finally:
            self._measuring = False

    def quadratic(
        self, parameters: Sequence[nn.Parameter], direction: Sequence[Tensor], batch: int, mask: Tensor | None
    ) -> Tensor:
        """Compute v^T F v, F the exact Fisher of the loss, by one forward-mode product through the network.

        Normalisation over the batch sees the part alone, and its running statistics stay; dropout draws anew.

        Args:
            parameters: What is trained.
            direction: v, shaped as they are.
            batch: Examples N of the last batch.
            mask: As `NaturalGradient.backward` was given.

        Returns:
            The number, ``[]``.

        Raises:
            RuntimeError: The network did not run with gradients enabled.
        """
        if self._inputs is None:
            raise RuntimeError("clipping needs the batch's inputs: call the model itself, before any torch.compile")
        examples = math.ceil(self._share * batch)
        args, kwargs = tree_map_only(
            Tensor, lambda value: value[:examples] if value.ndim and len(value) == batch else value, self._inputs
        )
        moving = {id(parameter): vector for parameter, vector in zip(parameters, direction, strict=True)}
        named = dict(self._model.named_parameters())
        fixed = {name: value.detach() for name, value in named.items() if id(value) not in moving}
        primals = {name: value.detach() for name, value in named.items() if id(value) in moving}
        tangents = {name: moving[id(named[name])] for name in primals}

        def run(values: dict[str, Tensor]) -> Tensor:
            # Copies made within the transform may be written to: running statistics stay as they are.
            buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
            outputs: Tensor = functional_call(self._model, {**values, **fixed, **buffers}, args, kwargs)
            return outputs

        with self.paused():
            outputs, moved = jvp(run, (primals,), (tangents,))[:2]
        part = mask[:examples] if mask is not None else None
        products = fisher_products(outputs, moved, self._likelihood)
        if part is not None:
            products = products * part.reshape(*part.shape, *[1] * (products.ndim - part.ndim))
        counted = len(outputs) if part is None else part.flatten(1).any(1).sum() if part.ndim > 1 else part.sum()
        scale = loss_scale(outputs, self._likelihood, self._reduction, part)
        if self._reduction == "sum":
            scale *= batch / examples
        return products.sum() / counted * scale


def clip_coefficient(quadratic: Tensor, limit: float) -> Tensor:
    """Return 1 / sqrt(max(1, nu / C)), with which a step is multiplied.

    Args:
        quadratic: nu, ``[]``.
        limit: C.

    Returns:
        At most 1, ``[]``.
    """
    return (quadratic / limit).clamp_min(1).rsqrt()
