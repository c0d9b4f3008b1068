"""Every Triton launch that dispatch picks for a set of layers: found from the catalogue, described without a GPU."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from kfc_kernels.catalogue import OPERATORS
from kfc_kernels.dispatch import Case
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.precision import PRODUCTS, multiplying

EVERY_LAYER = "every"

_conv = ConvGeometry.conv

HEADLINE: dict[str, ConvGeometry] = {
    "3x3-64": _conv(64, 64, (56, 56), 3, padding=1),
    "3x3-128": _conv(128, 128, (28, 28), 3, padding=1),
    "3x3-256": _conv(256, 256, (14, 14), 3, padding=1),
    "3x3-512": _conv(512, 512, (7, 7), 3, padding=1),
    "3x3-stride2-bias": _conv(128, 256, (28, 28), 3, stride=2, padding=1, bias=True),
    "5x5-32": _conv(32, 64, (16, 16), 5, padding=2),
    "7x7-stem": _conv(3, 64, (224, 224), 7, stride=2, padding=3),
    "1x1": _conv(64, 256, (56, 56), 1),
    "depthwise": _conv(32, 32, (28, 28), 3, padding=1, groups=32),
    "linear": ConvGeometry.linear(512, 1000, bias=True),
}
"""The layers of the static table: ResNet's, a wide kernel, the stem, and the ends of the range."""


@dataclass(frozen=True)
class Launch:
    """A kernel as dispatch launches it.

    Attributes:
        operator: The operator that launches it; of several, the first.
        kernel: Its function's name, numbered from the second on where one call launches it several times.
        layer: The layer's label, or `EVERY_LAYER` where all layers share the launch.
        products: A key of `kfc_kernels.precision.PRODUCTS`.
        function: The ``triton.jit`` function.
        types: Triton types of its arguments.
        configuration: Its constants and the options of its launch.
    """

    operator: str
    kernel: str
    layer: str
    products: str
    function: Any
    types: Mapping[str, str]
    configuration: Mapping[str, Any]


def launches(layers: Mapping[str, ConvGeometry] = HEADLINE, target: str = "sm_90") -> list[Launch]:
    """List the launches of every implementation whose module has an ``ahead_of_time``.

    Args:
        layers: Layers by label.
        target: The architecture, by its name in `kfc_kernels.compile_ahead.TARGETS`.

    Returns:
        One launch per operator, kernel, layer and products; where all layers share one, one per kernel and products.
        A launch that several of these share comes with the first alone.
    """
    found: dict[str, Launch] = {}
    for operator in OPERATORS.values():
        for entry in operator.table:
            describe = getattr(importlib.import_module(entry.module), "ahead_of_time", None)
            if describe is None:
                continue
            for products in PRODUCTS:
                described: dict[str, dict[str, Any]] = {}
                with multiplying(products) as dtype:
                    for layer, geometry in layers.items():
                        if entry.declines(Case(geometry, dtype, torch.device("cuda"))) is None:
                            for kernel, triple in _named(describe(geometry, dtype, target)):
                                described.setdefault(kernel, {})[layer] = triple
                for kernel, by_layer in described.items():
                    triples = list(by_layer.values())
                    one = len(triples) > 1 and all(triple == triples[0] for triple in triples)
                    named = {EVERY_LAYER: triples[0]} if one else by_layer
                    for layer, triple in named.items():
                        found.setdefault(repr(triple), Launch(operator.name, kernel, layer, products, *triple))
    return list(found.values())


def _named(triples: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Name each launch of a call after its function, numbered from the second on."""
    seen: Counter[str] = Counter()
    for triple in triples:
        name = triple[0].__name__
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name} {seen[name]}"), triple
