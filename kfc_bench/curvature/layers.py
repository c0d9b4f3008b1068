"""The trainable layers of a network, and the form that the Fisher block of each takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Form = Literal["kronecker", "scale_shift", "other"]
KRONECKER = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
SCALE_SHIFT = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm)


class UnsupportedLayerError(ValueError):
    """A parametrized layer cannot be trained as asked; the message names it."""


@dataclass(frozen=True)
class Layer:
    """A named layer, its trainable parameters, and their joint gradient.

    Attributes:
        name: As in ``named_modules``.
        module: The layer.
        parameters: The trainable ones among its own.
        form: ``"kronecker"`` for convolution and linear layers, whose joint gradient is ``[K, D]``, weights and bias
            side by side; ``"scale_shift"`` for normalisations and ``"other"``, whose joint gradient is flat.
    """

    name: str
    module: nn.Module
    parameters: tuple[nn.Parameter, ...]
    form: Form

    @property
    def _groups(self) -> int:
        groups = getattr(self.module, "groups", 1)
        return groups if isinstance(groups, int) else 1

    @property
    def has_bias(self) -> bool:
        """Whether the bias of a convolution or linear layer is trained."""
        return any(parameter is self.module.bias for parameter in self.parameters)

    def joint(self, values: Sequence[Tensor]) -> Tensor:
        """Join tensors shaped as the parameters: ``[K, D]``, with groups ``[groups, K/groups, D]``, or flat."""
        if self.form != "kronecker":
            return torch.cat([value.flatten() for value in values])
        joined = torch.cat([value.flatten(1) if value.ndim > 1 else value.unsqueeze(1) for value in values], dim=1)
        return joined.unflatten(0, (self._groups, -1)) if self._groups > 1 else joined

    def gradient(self) -> Tensor | None:
        """Return the joint gradient; None where the layer took no part.

        Raises:
            RuntimeError: Only some of its parameters have a gradient.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if not gradients:
            return None
        if len(gradients) < len(self.parameters):
            raise RuntimeError(f"layer {self.name!r} has a gradient for some of its parameters only")
        return self.joint(gradients)

    def split(self, joint: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
        """Cut a joint tensor back, paired with the parameters that it belongs to."""
        if self.form == "kronecker":
            rows = joint.flatten(0, 1) if self._groups > 1 else joint
            columns = [parameter[0].numel() if parameter.ndim > 1 else 1 for parameter in self.parameters]
            pieces = rows.split(columns, dim=1)
        else:
            pieces = joint.split([parameter.numel() for parameter in self.parameters])
        return [
            (parameter, piece.reshape(parameter.shape))
            for parameter, piece in zip(self.parameters, pieces, strict=True)
        ]


def _form(module: nn.Module, trainable: Sequence[nn.Parameter]) -> Form:
    if isinstance(module, KRONECKER) and any(parameter is module.weight for parameter in trainable):
        return "kronecker"
    return "scale_shift" if isinstance(module, SCALE_SHIFT) else "other"


def find_layers(model: nn.Module, trained: Iterable[nn.Parameter] | None = None) -> list[Layer]:
    """List the layers of a network that have trainable parameters of their own, in the order of their registration.

    Args:
        model: The network.
        trained: The parameters that count; None for all that are not frozen.

    Returns:
        Its layers; parameters that are not trained are not theirs.

    Raises:
        UnsupportedLayerError: Two layers share a parameter, nothing is trainable, or a layer hides what it runs.
    """
    chosen = {
        id(parameter) for parameter in (model.parameters() if trained is None else trained) if parameter.requires_grad
    }
    layers: list[Layer] = []
    owners: dict[int, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention) and any(id(value) in chosen for value in module.parameters()):
            raise UnsupportedLayerError(
                f"layer {name!r} (MultiheadAttention) does not call its projections as modules: freeze it, or write it "
                "with nn.Linear and scaled_dot_product_attention"
            )
        trainable = [parameter for parameter in module.parameters(recurse=False) if id(parameter) in chosen]
        if not trainable:
            continue
        for parameter in trainable:
            if id(parameter) in owners:
                raise UnsupportedLayerError(
                    f"layer {name!r} ({type(module).__name__}) shares a parameter with layer "
                    f"{owners[id(parameter)]!r}: let one module run twice instead"
                )
            owners[id(parameter)] = name
        layers.append(Layer(name, module, tuple(trainable), _form(module, trainable)))
    if not layers:
        raise UnsupportedLayerError(f"{type(model).__name__} has no trainable layer")
    return layers
