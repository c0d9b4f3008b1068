"""The Fisher of a whole network: each layer under the approximation that its form and name call for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kfc_bench.curvature.approximation import Approximation
from kfc_bench.curvature.approximations import APPROXIMATIONS
from kfc_bench.curvature.batch import Batch
from kfc_bench.curvature.diagonal import Diagonal
from kfc_bench.curvature.exact import Exact
from kfc_bench.curvature.example_fisher import ExampleBlock, ExampleDiagonal
from kfc_bench.curvature.identity import Identity
from kfc_bench.curvature.layers import Layer

WHOLE: tuple[type[Approximation[Any]], ...] = (Exact, Identity)
"""Approximations that take a layer of any form."""

LARGEST_BLOCK = 4096
"""Parameters of a normalisation up to which its exact block is formed."""


def _kind(layer: Layer, asked: type[Approximation[Any]]) -> type[Approximation[Any]]:
    """Return the approximation of a layer: the one asked for, or for a form that it has none for, the closest."""
    if asked in WHOLE or layer.form == "kronecker":
        return asked
    small = layer.form == "scale_shift" and sum(value.numel() for value in layer.parameters) <= LARGEST_BLOCK
    return ExampleBlock if small and asked is not Diagonal else ExampleDiagonal


class NetworkCurvature:
    """One `Approximation` for each set of layers that are treated alike.

    Scale and shift of a normalisation have their exact block (their diagonal, where the diagonal is asked for); what is
    neither convolution, linear nor normalisation, or a normalisation of many parameters, has its diagonal, which a
    warning says once.

    Args:
        layers: The network's layers.
        approximation: A key of `APPROXIMATIONS`.
        damping: Per layer lambda + gamma.
        per_layer: Other keys, by layer name.
        options: Of every approximation.

    Attributes:
        parts: Each approximation with the indices of its layers.

    Raises:
        ValueError: ``per_layer`` names a layer or approximation that is not there, or puts the exact Fisher beside
            another, or under two dampings.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        approximation: str,
        damping: Sequence[float],
        per_layer: Mapping[str, str],
        **options: Any,
    ) -> None:
        self._names = [layer.name for layer in layers]
        self._like = layers[0].parameters[0] if layers else None
        for name, choice in per_layer.items():
            if name not in self._names:
                raise ValueError(f"per_layer names {name!r}, but the layers are {', '.join(self._names)}")
            if choice not in APPROXIMATIONS:
                raise ValueError(f"approximation {choice!r} of {name!r} is not one of {', '.join(APPROXIMATIONS)}")
        asked = [APPROXIMATIONS[per_layer.get(layer.name, approximation)] for layer in layers]
        kinds = [_kind(*pair) for pair in zip(layers, asked, strict=True)]
        alike: dict[tuple[type[Approximation[Any]], float], list[int]] = {}
        for index, key in enumerate(zip(kinds, damping, strict=True)):
            alike.setdefault(key, []).append(index)
        if Exact in kinds and len(alike) > 1:
            raise ValueError("the exact Fisher is one matrix: it takes all layers, under one damping and weight decay")
        self.parts = [(kind(damping=value, **options), indices) for (kind, value), indices in alike.items()]
        for part, indices in self.parts:
            part.names = [self._names[index] for index in indices]
        replaced = [
            layer
            for layer, wanted, kind in zip(layers, asked, kinds, strict=True)
            if kind is ExampleDiagonal and wanted is not Diagonal
        ]
        if replaced:
            listed = ", ".join(f"{layer.name!r} ({type(layer.module).__name__})" for layer in replaced)
            warnings.warn(f"no structured Fisher block: the diagonal one is used for {listed}", stacklevel=3)

    def reset(self) -> None:
        """Forget the running averages; the inverses stay until they are refreshed."""
        for part, _ in self.parts:
            part.observations = 0

    def observe(self, batches: Sequence[Batch | None], *, decay: float | None = None) -> None:
        """Add one batch to the running averages.

        Args:
            batches: One per layer; None for a layer that did not run.
            decay: e of this batch; None for e_k.
        """
        for part, indices in self.parts:
            part.observe([batches[index] for index in indices], decay=decay)

    def refresh(self) -> None:
        """Invert the damped statistics of every layer that was observed."""
        for part, _ in self.parts:
            part.refresh()

    def precondition(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Multiply the joint gradients with the inverse; None where a layer has none.

        Args:
            gradients: One per layer.

        Returns:
            The natural gradients.

        Raises:
            RuntimeError: A layer has a gradient, but was never observed.
        """
        naturals: list[Tensor | None] = [None] * len(gradients)
        for part, indices in self.parts:
            moving = [place for place, index in enumerate(indices) if gradients[index] is not None]
            if not moving:
                continue
            if isinstance(part, Exact):
                absent = [index for index in indices if gradients[index] is None]
                if absent:
                    raise RuntimeError(
                        f"the exact Fisher needs every layer: {self._names[absent[0]]!r} has no gradient"
                    )
            else:
                unseen = [self._names[indices[place]] for place in moving if not part.seen or not part.seen[place]]
                if unseen:
                    raise RuntimeError(
                        f"layer {unseen[0]!r} has a gradient but was in no batch of statistics: its output must reach "
                        "the outputs that backward() is given; where a layer joins late, call "
                        "optimizer.request(statistics=True, inverses=True) before the forward pass"
                    )
            found = part.precondition([gradients[index] for index in indices])
            for index, natural in zip(indices, found, strict=True):
                naturals[index] = natural
        return naturals

    def _in_order(self, values: str) -> list[Any]:
        """Return a list of the parts' in the order of the layers; the exact Fisher's has one entry for all."""
        if any(isinstance(part, Exact) for part, _ in self.parts):
            return list(getattr(self.parts[0][0], values))
        placed = {
            index: value
            for part, indices in self.parts
            for index, value in zip(indices, getattr(part, values), strict=False)
        }
        return [placed[index] for index in sorted(placed)]

    @property
    def statistics(self) -> list[list[Tensor]]:
        """Per layer (or one for the whole network), the running averages."""
        return self._in_order("statistics")

    @property
    def inverses(self) -> list[list[Tensor]]:
        """Per layer (or one for the whole network), what gradients are multiplied with."""
        return self._in_order("inverses")

    def damped(self) -> list[list[tuple[Tensor, Tensor | float]]]:
        """Return, per layer, the matrices to invert, each with the shift to its diagonal."""
        return [layer for part, _ in self.parts for layer in part.damped()]

    @property
    def observations(self) -> int:
        """Number of batches observed."""
        return max((part.observations for part, _ in self.parts), default=0)

    @property
    def layers_seen(self) -> int:
        """Layers that were in a batch at least once."""
        return sum(count > 0 for part, _ in self.parts for count in part.seen)

    @property
    def raised(self) -> int:
        """Matrices that got more damping than asked, over all refreshes."""
        return sum(part.raised for part, _ in self.parts)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {"parts": [part.state_dict() for part, _ in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a copy of what `state_dict` returned, on the device and in the dtype of the parameters.

        Raises:
            ValueError: It is of another approximation.
        """
        if len(state["parts"]) != len(self.parts):
            raise ValueError(f"the state has {len(state['parts'])} approximations, but the optimizer {len(self.parts)}")
        for (part, _), values in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(values)
            if self._like is not None:
                part.statistics = [[tensor.to(self._like) for tensor in layer] for layer in part.statistics]
                part.inverses = [[tensor.to(self._like) for tensor in layer] for layer in part.inverses]


def are_finite(batches: Sequence[Batch | None]) -> bool:
    """Tell whether all that the layers saw is finite, in one transfer from the device."""
    extremes = [
        extreme
        for batch in batches
        if batch is not None
        for tensor in batch.tensors()
        if tensor.numel()
        for extreme in tensor.aminmax()
    ]
    return bool(torch.stack(extremes).isfinite().all())
