"""A network made of a list of layers, each on an input of its own."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kfc_bench.errors import UserError
from kfc_bench.experiments.cost.places import layers
from kfc_bench.experiments.table import Table
from kfc_bench.problems.networks import Network
from kfc_kernels import ConvGeometry

CONVOLUTIONS: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class LayerList(nn.Module):
    """Layers side by side: each takes its own part of the input, and its outputs' mean is one logit.

    Args:
        geometries: The layers.
    """

    def __init__(self, geometries: Sequence[ConvGeometry]) -> None:
        super().__init__()
        self._shapes = [(geometry.in_channels, *geometry.in_size) for geometry in geometries]
        self.layers = nn.ModuleList(map(_module, geometries))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[N, layers]`` of inputs ``[N, elements]``; gradients flow back into the input."""
        parts = x.detach().requires_grad_().split([math.prod(shape) for shape in self._shapes], dim=1)
        outputs = [
            layer(part.unflatten(1, shape)).flatten(1).mean(1)
            for layer, part, shape in zip(self.layers, parts, self._shapes, strict=True)
        ]
        return torch.stack(outputs, dim=1)


def _module(geometry: ConvGeometry) -> nn.Module:
    if not geometry.axes:
        return nn.Linear(geometry.in_channels, geometry.out_channels, bias=geometry.bias)
    uneven = any(before != after for before, after in geometry.padding)
    module: nn.Module = CONVOLUTIONS[geometry.axes - 1](
        geometry.in_channels,
        geometry.out_channels,
        geometry.kernel,
        geometry.stride,
        "same" if uneven else tuple(before for before, _ in geometry.padding),
        geometry.dilation,
        geometry.groups,
        geometry.bias,
        geometry.padding_mode,
    )
    return module


def read_layers(path: Path) -> Network:
    """Read ``layer``, a list as in a suite file's sweep, from a TOML or JSON file.

    Args:
        path: The file.

    Returns:
        A network of these layers, with as many logits as layers.

    Raises:
        UserError: It cannot be read, or describes no layers.
    """
    try:
        text = path.read_text()
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: a list of layers cannot be read from it: {reason}") from None
    table = Table(values, str(path))
    geometries = [geometry for *_, geometry in layers(table, repeats=True) if geometry is not None]
    table.done()
    elements = sum(geometry.in_channels * math.prod(geometry.in_size) for geometry in geometries)
    return Network(partial(LayerList, geometries), (elements,), len(geometries))
