"""What a network's modules are, and how the work of one call divides over the layers that it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from kfc_bench.curvature import APPROXIMATIONS, Approximation, NetworkCurvature
from kfc_bench.curvature.layers import KRONECKER
from kfc_bench.curvature.solved import DenseBlock, DiagonalBlock
from kfc_bench.experiments.cost.case import geometry_columns
from kfc_bench.experiments.cost.layer_work import layer_cost
from kfc_bench.problems.networks import Network
from kfc_kernels import ConvGeometry

Works = Mapping[tuple[str, str], float]
"""Counted work, by phase and layer, of calls that serve several layers."""


@dataclass
class Module:
    """A module of a network, as one example goes through it.

    Attributes:
        kind: Its class.
        parameters: Its own, not those of modules in it.
        trained: Those of them that are not frozen.
        in_elements: Numbers that come in, over all its calls.
        out_elements: Numbers that go out.
        geometry: Of a convolution or linear layer.
    """

    kind: str
    parameters: int
    trained: int
    in_elements: int = 0
    out_elements: int = 0
    geometry: ConvGeometry | None = None

    def columns(self) -> dict[str, Any]:
        """Return the columns of a part that describe its layer."""
        return {
            "kind": self.kind,
            "in_elements": self.in_elements,
            "out_elements": self.out_elements,
            "parameters": self.parameters,
            **(geometry_columns(self.geometry) if self.geometry is not None else {}),
        }


def modules(network: Network) -> dict[str, Module]:
    """Run one example through a network, and describe its modules.

    Args:
        network: The network.

    Returns:
        Modules by name; the network itself has none and is not there.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = network.build().eval()
        found = {name: _described(module) for name, module in model.named_modules() if name}

        def seen(
            own: Module, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: object
        ) -> None:
            given = _tensors((arguments, keywords))
            own.in_elements += sum(tensor.numel() for tensor in given)
            own.out_elements += sum(tensor.numel() for tensor in _tensors(output))
            if isinstance(module, KRONECKER) and own.geometry is None:
                own.geometry = ConvGeometry.from_module(module, given[0])

        for name, module in model.named_modules():
            if name:
                module.register_forward_hook(partial(seen, found[name]), with_kwargs=True)
        model(torch.zeros(1, *network.input_shape))
    return found


def _described(module: nn.Module) -> Module:
    own = list(module.parameters(recurse=False))
    trained = sum(value.numel() for value in own if value.requires_grad)
    return Module(type(module).__name__, sum(value.numel() for value in own), trained)


def _tensors(values: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def shared_works(curvature: NetworkCurvature, found: Mapping[str, Module]) -> dict[tuple[str, str], float]:
    """Count the work of inverting and preconditioning, layer by layer.

    Args:
        curvature: After its first statistics.
        found: The network's modules.

    Returns:
        Work by phase and layer, in units that only compare layers of one phase and approximation: n^3 for each matrix
        inverted, FLOPs of the products of a gradient.
    """
    works: dict[tuple[str, str], float] = {}
    for part, indices in curvature.parts:
        for place, matrices in enumerate(part.damped()):
            name = part.name(place)
            inverting = sum(matrix.numel() * matrix.shape[-1] for matrix, _ in matrices)
            works["inverse", name] = works.get(("inverse", name), 0.0) + inverting
        for place in range(len(indices)):
            name = part.name(place)
            if name in found:
                works["precondition", name] = _precondition(part, found[name])
    return works


def _precondition(part: Approximation[Any], module: Module) -> float:
    if isinstance(part, DiagonalBlock):
        return module.parameters
    if isinstance(part, DenseBlock) or module.geometry is None:
        return module.parameters**2
    name = next(name for name, kind in APPROXIMATIONS.items() if kind is type(part))
    return layer_cost(name, "precondition", module.geometry, 1, 1).flops_algorithm if name != "identity" else 1.0


def shares(phase: str, names: Sequence[str], works: Works) -> dict[str, float]:
    """Divide one call over the layers that it served, by their counted work.

    Args:
        phase: Its phase.
        names: The layers.
        works: From `shared_works`.

    Returns:
        Shares that add up to 1: equal ones where nothing is counted.
    """
    own = {name: works.get((phase, name), 0.0) for name in names}
    total = sum(own.values())
    return {name: value / total if total else 1 / len(own) for name, value in own.items()}
