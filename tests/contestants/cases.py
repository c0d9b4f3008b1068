"""What the tests of contestants share."""

from __future__ import annotations

import dataclasses
import warnings
from functools import cache

import pytest
import torch
from torch import Tensor

from kfc_bench.contestants import Contestant, contestants
from kfc_kernels import ConvGeometry, input_factor
from kfc_kernels.dispatch import Case
from tests.kernels.geometry_cases import CASES

PLAIN = [entry for entry in contestants().values() if entry.package is None]
PEERS = [entry for entry in contestants().values() if entry.package is not None]
LAYER = ConvGeometry.conv(3, 4, (6, 5), 3, padding=1)

every_contestant = pytest.mark.parametrize("contestant", contestants().values(), ids=contestants())
every_peer = pytest.mark.parametrize("contestant", PEERS, ids=[entry.name for entry in PEERS])


@cache
def layers() -> dict[str, tuple[ConvGeometry, Tensor]]:
    """The kernels' cases, with their inputs in float64, each with a bias and without."""
    table = {}
    for case in CASES:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using padding='same' with even kernel", UserWarning)
            layer = case.build()
        for bias in (False, True):
            geometry = dataclasses.replace(layer.geometry, bias=bias)
            table[f"{case.id}{' with bias' if bias else ''}"] = geometry, layer.a
    return table


def need(contestant: Contestant) -> None:
    """Skip the test where the contestant's package is missing."""
    package = contestant.package
    if package is not None and not package.installed:
        pytest.skip(f"{package.module} is not installed: pip install {package.distribution}")


def case_of(geometry: ConvGeometry, a: Tensor) -> Case:
    return Case(geometry, a.dtype, a.device)


def result(contestant: Contestant, a: Tensor, geometry: ConvGeometry) -> Tensor:
    """Run a contestant twice, and return its second result in our scale."""
    run = contestant.ready([a, geometry], case_of(geometry, a))
    first = run().clone()
    second = run()
    assert torch.equal(first, second)
    return second * contestant.scale(geometry, a.shape[0])


def reference(a: Tensor, geometry: ConvGeometry) -> Tensor:
    return input_factor(a.double(), geometry, implementation="reference")
