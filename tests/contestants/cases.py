"""What the tests of contestants share."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import kfc_kernels
from kfc_bench.contestants import Contestant, contestants
from kfc_bench.contestants.compiled import COMPILERS
from kfc_bench.experiments.cost.workloads import _arguments, _Draws
from kfc_kernels import ConvGeometry
from kfc_kernels.dispatch import Case
from tests.experiments.cost_cases import cost_case
from tests.kernels.geometry_cases import CASES

COMPILED = [entry for entry in contestants().values() if entry.name == "compiled"]
PLAIN = [entry for entry in contestants().values() if entry.package is None and entry not in COMPILED]
PEERS = [entry for entry in contestants().values() if entry.package is not None]
LAYER = ConvGeometry.conv(3, 4, (6, 5), 3, padding=1)
SEES_OUTPUTS_ALONE = ("output_factor", "reduced_output_factor")


def name_of(contestant: Contestant) -> str:
    return " ".join(contestant.key)


def _parametrize(entries: list[Contestant]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("contestant", entries, ids=name_of)


every_contestant = _parametrize([*PLAIN, *PEERS, *(entry for entry in COMPILED if entry.operator == "precondition")])
"""Of what is compiled the quickest."""

every_plain = _parametrize(PLAIN)
every_peer = _parametrize(PEERS)


@cache
def layers() -> dict[str, tuple[ConvGeometry, int]]:
    """The kernels' cases, each with a bias and without, and their numbers of examples."""
    table = {}
    for case in CASES:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using padding='same' with even kernel", UserWarning)
            layer = case.build()
        for bias in (False, True):
            geometry = dataclasses.replace(layer.geometry, bias=bias)
            table[f"{case.id}{' with bias' if bias else ''}"] = geometry, layer.batch
    return table


def need(contestant: Contestant) -> None:
    """Skip the test where the contestant's package, or its compiler, is missing."""
    package = contestant.package
    if package is not None and not package.installed:
        pytest.skip(f"{package.module} is not installed: pip install {package.distribution}")
    if contestant in COMPILED and not any(map(shutil.which, COMPILERS)):
        pytest.skip("there is no C++ compiler")


def case_of(geometry: ConvGeometry, dtype: torch.dtype = torch.float64, batch: int = 1) -> Case:
    return Case(geometry, dtype, torch.device("cpu"), batch)


def arguments(
    contestant: Contestant, geometry: ConvGeometry, batch: int, dtype: torch.dtype = torch.float64
) -> list[Any]:
    """Draw the arguments of the contestant's operator, the same numbers for every dtype."""
    case = cost_case(operator=contestant.operator, geometry=geometry, batch=batch)
    return _arguments(contestant.operator, geometry, _Draws(case, dtype))


def result(
    contestant: Contestant, geometry: ConvGeometry, batch: int, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Run a contestant twice, and return its second result in our scale."""
    run = contestant.ready(arguments(contestant, geometry, batch, dtype), case_of(geometry, dtype, batch))
    first = [tensor.clone() for tensor in listed(run())]
    second = listed(run())
    assert all(map(torch.equal, first, second))
    return [tensor.double() * contestant.scale(geometry, batch) for tensor in second]


def reference(contestant: Contestant, geometry: ConvGeometry, batch: int) -> list[Tensor]:
    operator = getattr(kfc_kernels, contestant.operator)
    return listed(operator(*arguments(contestant, geometry, batch), implementation="reference"))


def listed(result: Tensor | list[Tensor]) -> list[Tensor]:
    return result if isinstance(result, list) else [result]
