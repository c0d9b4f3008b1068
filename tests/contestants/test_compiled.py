"""The plain implementations under ``torch.compile``, traced and run as they are: to generate code takes long."""

import shutil

import pytest
import torch
from torch.testing import assert_close

from kfc_bench.contestants import compiled, contestants
from kfc_bench.experiments.cost import COST
from kfc_bench.experiments.cost.measurement import open_case
from kfc_kernels import ConvGeometry, UnsupportedError
from kfc_kernels.dispatch import Case
from tests.contestants.cases import COMPILED, LAYER, name_of, reference, result
from tests.experiments.cost_cases import cost_case

GROUPED = ConvGeometry.conv(4, 6, (5, 4), 3, padding=1, groups=2, bias=True)


@pytest.fixture
def traced(monkeypatch):
    """Run what was traced as it is."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("geometry", [LAYER, GROUPED], ids=["plain", "grouped"])
@pytest.mark.parametrize("contestant", COMPILED, ids=name_of)
def test_every_plain_implementation_is_traced_whole(contestant, geometry):
    assert_close(result(contestant, geometry, 3), reference(contestant, geometry, 3))


@pytest.mark.usefixtures("traced")
def test_cases_do_not_share_what_the_compiler_keeps():
    contestant = contestants()["output_factor", "compiled"]
    for size in range(2, 2 + 2 * torch._dynamo.config.recompile_limit):
        geometry = ConvGeometry.conv(2, 3, (size, size), 1)
        assert_close(result(contestant, geometry, 2), reference(contestant, geometry, 2))


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    case = cost_case(operator="diagonal_fisher", implementation="compiled")
    with pytest.raises(UnsupportedError) as caught:
        open_case(case)
    assert COST.classify(caught.value) == (
        "unsupported",
        "diagonal_fisher: compiled needs a C++ compiler: none of c++, g++, clang++ is there",
    )
    assert compiled.declines(Case(LAYER, torch.float32, torch.device("cuda"))) is None
