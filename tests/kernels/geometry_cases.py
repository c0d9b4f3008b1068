"""The layers that kernel tests share, each with an input, backpropagated vectors, and gradients by autograd alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kfc_kernels import ConvGeometry

VECTORS = 2


@dataclass(frozen=True, eq=False)
class Layer:
    """A float64 layer at work: ``a`` is ``[N, C, *in]`` and ``g`` is ``[V, N, K, *out]``."""

    module: nn.Module
    geometry: ConvGeometry
    a: Tensor
    g: Tensor

    @property
    def batch(self) -> int:
        return self.a.shape[0]

    def forward(self, a: Tensor) -> Tensor:
        return forward(self.module, a)

    def gradient(self, output: Tensor, seed: Tensor | None = None) -> Tensor:
        """Differentiate by the parameters, laid out ``[K, D]``."""
        rows = torch.autograd.grad(output, list(self.module.parameters()), seed, retain_graph=True)
        return torch.cat([row.flatten(1) if row.ndim > 1 else row.unsqueeze(1) for row in rows], dim=1)

    @cached_property
    def example_gradients(self) -> Tensor:
        """``[groups, V, N, K/groups, D]``, one backward pass per vector and example."""
        outputs = [self.forward(example) for example in self.a.split(1)]
        gradients = [
            self.gradient(output, g) for vector in self.g for output, g in zip(outputs, vector.split(1), strict=True)
        ]
        shaped = torch.stack(gradients).unflatten(0, (-1, self.batch))
        return shaped.unflatten(2, (self.geometry.groups, -1)).movedim(2, 0)

    @cached_property
    def patches(self) -> Tensor:
        """``[groups, N, |T|, D]``: the gradient of one output position is the patch that it sees."""
        groups = []
        for channel in range(0, self.geometry.out_channels, self.geometry.group_outputs):
            maps = [self.forward(example)[0, channel].flatten() for example in self.a.split(1)]
            groups.append([torch.stack([self.gradient(pixel)[channel] for pixel in pixels]) for pixels in maps])
        return torch.stack([torch.stack(examples) for examples in groups])

    @cached_property
    def positions(self) -> Tensor:
        """The vectors as ``[groups, V, N, |T|, K/groups]``."""
        groups = self.g.reshape(*self.g.shape[:3], -1).chunk(self.geometry.groups, dim=2)
        return torch.stack(groups).mT


def forward(module: nn.Module, a: Tensor) -> Tensor:
    """Run a layer on ``[N, C, *in]``, linear ones too."""
    return module(a.movedim(1, -1)).movedim(-1, 1) if isinstance(module, nn.Linear) else module(a)


def make_layer(module: nn.Module, *, size: tuple[int, ...], batch: int) -> Layer:
    generator = torch.Generator().manual_seed(0)
    module = module.double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=generator)
    channels = module.in_features if isinstance(module, nn.Linear) else module.in_channels
    a = torch.randn(batch, channels, *size, dtype=torch.float64, generator=generator)
    geometry = ConvGeometry.from_module(module, a.movedim(1, -1) if isinstance(module, nn.Linear) else a)
    output = forward(module, a)
    g = torch.randn(VECTORS, *output.shape, dtype=torch.float64, generator=generator)
    return Layer(module, geometry, a, g)


@dataclass(frozen=True)
class GeometryCase:
    """A row of the table: a layer's constructor, its arguments, and what it runs on."""

    id: str
    kind: type[nn.Module]
    arguments: tuple[int, ...]
    size: tuple[int, ...]
    batch: int = 3
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    @cache  # noqa: B019
    def build(self) -> Layer:
        return make_layer(self.kind(*self.arguments, **self.options), size=self.size, batch=self.batch)

    @property
    def groups(self) -> int:
        return self.options.get("groups", 1)


def _case(
    name: str, kind: type[nn.Module], *arguments: int, size: tuple[int, ...], batch: int = 3, **options: Any
) -> GeometryCase:
    return GeometryCase(name, kind, arguments, size, batch, options)


CASES = [
    _case("linear", nn.Linear, 5, 3, size=()),
    _case("linear-no-bias", nn.Linear, 4, 2, size=(), bias=False),
    _case("linear-batch1", nn.Linear, 4, 3, size=(), batch=1),
    _case("linear-shared", nn.Linear, 3, 2, size=(4,)),
    _case("linear-shared-twice", nn.Linear, 3, 4, size=(2, 3), bias=False),
    _case("1d", nn.Conv1d, 3, 2, 3, size=(7,)),
    _case("1d-stride-dilation", nn.Conv1d, 2, 3, 3, size=(11,), stride=2, dilation=2, padding=1, bias=False),
    _case("1d-same-even", nn.Conv1d, 2, 3, 4, size=(6,), padding="same"),
    _case("1d-circular-groups", nn.Conv1d, 4, 2, 3, size=(5,), padding=2, padding_mode="circular", groups=2),
    _case("1x1", nn.Conv2d, 3, 5, 1, size=(4, 3)),
    _case("1x1-stride", nn.Conv2d, 4, 2, 1, size=(5, 4), stride=2, bias=False),
    _case("1x1-groups", nn.Conv2d, 4, 6, 1, size=(3, 3), groups=2),
    _case("3x3", nn.Conv2d, 2, 3, 3, size=(5, 6), bias=False),
    _case("3x3-padding", nn.Conv2d, 3, 2, 3, size=(5, 5), padding=1),
    _case("3x3-odd-channels", nn.Conv2d, 7, 5, 3, size=(4, 4), padding=1),
    _case("5x5", nn.Conv2d, 2, 2, 5, size=(6, 7), padding=2),
    _case("3x1", nn.Conv2d, 2, 3, (3, 1), size=(6, 4), padding=(1, 0)),
    _case("11x11-stride4", nn.Conv2d, 2, 1, 11, size=(19, 17), stride=4, padding=2),
    _case("stride-by-axis", nn.Conv2d, 2, 3, 3, size=(8, 7), stride=(2, 3), padding=(1, 2)),
    _case("dilation", nn.Conv2d, 2, 2, 3, size=(7, 8), dilation=(2, 3), padding=(0, 1)),
    _case("groups", nn.Conv2d, 4, 6, 3, size=(5, 4), padding=1, groups=2),
    _case("groups-no-bias-stride", nn.Conv2d, 6, 3, (2, 3), size=(6, 6), stride=2, groups=3, bias=False),
    _case("depthwise", nn.Conv2d, 3, 3, 3, size=(5, 5), padding=1, groups=3),
    _case("depthwise-multiplier", nn.Conv2d, 2, 6, 3, size=(4, 4), groups=2, bias=False),
    _case("same", nn.Conv2d, 2, 3, (3, 5), size=(5, 4), padding="same"),
    _case("same-even", nn.Conv2d, 2, 2, (2, 4), size=(5, 4), padding="same"),
    _case("same-even-dilation", nn.Conv2d, 2, 2, (2, 3), size=(6, 5), padding="same", dilation=(3, 2), bias=False),
    _case("same-even-circular", nn.Conv2d, 2, 2, 4, size=(5, 4), padding="same", padding_mode="circular"),
    _case("valid", nn.Conv2d, 3, 2, 3, size=(5, 4), padding="valid"),
    _case("padding-over-kernel", nn.Conv2d, 2, 2, 3, size=(3, 2), padding=(4, 5)),
    _case("circular", nn.Conv2d, 2, 3, 3, size=(4, 5), padding=(1, 2), padding_mode="circular"),
    _case("reflect", nn.Conv2d, 2, 3, 3, size=(4, 5), padding=2, padding_mode="reflect", bias=False),
    _case("replicate", nn.Conv2d, 2, 3, 3, size=(4, 5), padding=(3, 1), stride=2, padding_mode="replicate"),
    _case("map-under-kernel", nn.Conv2d, 2, 3, 5, size=(2, 3), padding=2),
    _case("single-position", nn.Conv2d, 2, 3, (3, 4), size=(3, 4)),
    _case("batch1", nn.Conv2d, 3, 2, 3, size=(4, 4), batch=1),
    _case("3d", nn.Conv3d, 2, 3, 2, size=(3, 4, 3)),
    _case("3d-groups-stride", nn.Conv3d, 2, 4, (2, 1, 3), size=(4, 2, 5), stride=(2, 1, 1), padding=1, groups=2),
    _case("3d-replicate", nn.Conv3d, 1, 2, 3, size=(2, 3, 2), padding=1, padding_mode="replicate", bias=False),
]


def parametrize(cases: list[GeometryCase]) -> pytest.MarkDecorator:
    """Run a test once for each case, as its argument ``case``."""
    even = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
    return pytest.mark.parametrize(
        "case", [pytest.param(case, id=case.id, marks=even if "same-even" in case.id else ()) for case in cases]
    )


def named(*names: str) -> list[GeometryCase]:
    """Pick cases by their ids."""
    table = {case.id: case for case in CASES}
    return [table[name] for name in names]


every_case = parametrize(CASES)
