"""Clipping by v^T F v, with the exact Fisher on a part of the batch (supplement B.1, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map_only

from kfc_bench.curvature.likelihoods import Likelihood, Reduction, counted, fisher_products, loss_scale


class FisherClip:
    """Keeps a network's last inputs, and tells by how much a step is to be shortened.

    Args:
        model: The network, before any ``torch.compile``.
        likelihood: Of its outputs.
        reduction: Of the loss.
        limit: C, the largest nu.
        share: Part of the batch that the products run on, its first examples that count.
    """

    def __init__(
        self, model: nn.Module, likelihood: Likelihood, reduction: Reduction, *, limit: float, share: float
    ) -> None:
        self._model = model
        self._likelihood = likelihood
        self._reduction = reduction
        self._limit = limit
        self._share = share
        self._inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._measuring = False
        self._handle = model.register_forward_pre_hook(self._keep, with_kwargs=True)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy or pickle as a hook that keeps nothing."""
        return FisherClip._asleep, ()

    @classmethod
    def _asleep(cls) -> FisherClip:
        clip = cls.__new__(cls)
        clip._measuring = True
        return clip

    def remove(self) -> None:
        """Take the hook off the network."""
        self._handle.remove()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the network run, or a part of it once more, without a trace."""
        self._measuring = True
        try:
            yield
        finally:
            self._measuring = False

    def _keep(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG002
        if torch.is_grad_enabled() and not self._measuring:
            self._inputs = tree_map_only(Tensor, Tensor.detach, (args, kwargs))

    def coefficient(
        self,
        parameters: Sequence[nn.Parameter],
        direction: Sequence[Tensor],
        weight_decays: Sequence[float],
        shape: Sequence[int],
        mask: Tensor | None,
    ) -> Tensor:
        """Return 1 / sqrt(max(1, nu / C)), nu = v^T F v + lambda v^T v, with which Algorithm 1 multiplies v.

        Args:
            parameters: What is trained.
            direction: v, shaped as they are.
            weight_decays: lambda of each.
            shape: Of the outputs of the last batch, ``[N, *]``.
            mask: As `NaturalGradient.backward` was given.

        Returns:
            At most 1, ``[]``.

        Raises:
            RuntimeError: As `quadratic`.
        """
        nu = self.quadratic(parameters, direction, shape, mask)
        if any(weight_decays):
            nu = nu + sum(decay * vector.square().sum() for decay, vector in zip(weight_decays, direction, strict=True))
        return (nu / self._limit).clamp_min(1).rsqrt()

    def _part(self, batch: int, mask: Tensor | None) -> tuple[slice | Tensor, float]:
        """Return the examples that the product runs on, and how many of the batch's each stands for.

        They are two at least where there are two, which normalisation over the batch needs.

        Returns:
            An index, and a number.
        """
        rows = None if mask is None else counted(mask).nonzero().flatten()
        examples = batch if rows is None else len(rows)
        chosen = max(math.ceil(self._share * examples), min(2, examples))
        return slice(chosen) if rows is None else rows[:chosen], examples / max(chosen, 1)

    def quadratic(
        self, parameters: Sequence[nn.Parameter], direction: Sequence[Tensor], shape: Sequence[int], mask: Tensor | None
    ) -> Tensor:
        """Compute v^T F v, F the exact Fisher of the loss, by one forward-mode product through the network.

        Normalisation over the batch sees the part alone, and its running statistics stay; dropout draws anew. Attention
        runs in its plain form, which alone has a forward-mode derivative.

        Args:
            parameters: What is trained.
            direction: v, shaped as they are.
            shape: Of the outputs of the last batch, ``[N, *]``.
            mask: As `NaturalGradient.backward` was given.

        Returns:
            The number, ``[]``.

        Raises:
            RuntimeError: The network did not run with gradients enabled, or returns something else than the outputs
                that `NaturalGradient.backward` was given.
        """
        if self._inputs is None:
            raise RuntimeError("clipping needs the batch's inputs: call the model itself, before any torch.compile")
        rows, each = self._part(shape[0], mask)
        dtype = parameters[0].dtype

        def part(value: Tensor) -> Tensor:
            value = value[rows] if value.ndim and len(value) == shape[0] else value
            return value.to(dtype) if value.is_floating_point() else value

        args, kwargs = tree_map_only(Tensor, part, self._inputs)
        moving = {id(parameter): vector for parameter, vector in zip(parameters, direction, strict=True)}
        named = dict(self._model.named_parameters())
        fixed = {name: value.detach() for name, value in named.items() if id(value) not in moving}
        primals = {name: value.detach() for name, value in named.items() if id(value) in moving}
        tangents = {name: moving[id(named[name])] for name in primals}

        def run(values: dict[str, Tensor]) -> Tensor:
            # Copies made within the transform may be written to: running statistics stay as they are.
            buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
            outputs: Tensor = functional_call(self._model, {**values, **fixed, **buffers}, args, kwargs)
            if not isinstance(outputs, Tensor) or outputs.shape[1:] != torch.Size(shape[1:]):
                found = f"shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
                raise RuntimeError(
                    f"clipping runs the network once more, which returned {found} where backward() was given outputs "
                    f"of shape {list(shape)}: let it return the very outputs, or set clip=None"
                )
            return outputs

        with self.paused(), sdpa_kernel(SDPBackend.MATH):
            outputs, moved = jvp(run, (primals,), (tangents,))[:2]
        products = fisher_products(outputs, moved, self._likelihood)
        chosen = mask[rows] if mask is not None else None
        if chosen is not None:
            products = products * chosen.reshape(*chosen.shape, *[1] * (products.ndim - chosen.ndim))
        scale = loss_scale(outputs, self._likelihood, self._reduction, chosen)
        if self._reduction == "sum":
            scale *= each
        return products.sum() * (scale / len(outputs))
