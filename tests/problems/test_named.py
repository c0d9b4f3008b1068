import importlib
import sys

import pytest
import torch

from kfc_bench.errors import UserError
from kfc_bench.problems.named import find_network, structure
from kfc_bench.problems.networks import NETWORKS

MINE = """
from torch import nn

def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 7))

def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(7))

made = small()

def once():
    return made

def inside():
    import my_parts
    return my_parts.net()

def ends():
    raise SystemExit(3)

class Holder:
    @staticmethod
    def deep():
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 5))

def number():
    return 3

def broken():
    raise OSError("no\\nweights")

def images():
    return nn.Conv2d(3, 4, 3)

size = 3
"""


@pytest.fixture
def _mine(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(MINE)
    (tmp_path / "my_parts.py").write_text("from my_nets import small as net")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_nets", "my_parts"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_those_that_come_along():
    assert find_network("cifar10") is NETWORKS["cifar10"]
    wide = find_network("resnet18", (3, 64, 64))
    assert (wide.input_shape, wide.classes) == ((3, 64, 64), 10)


@pytest.mark.usefixtures("_mine")
def test_one_that_is_imported_from_the_current_folder():
    network = find_network("my_nets:small", (3, 6, 6))
    assert network.classes == 7
    assert network.build()(torch.zeros(2, 3, 6, 6)).shape == (2, 7)
    assert find_network("my_nets:Holder.deep", (3, 2, 2)).classes == 5


@pytest.mark.usefixtures("_mine")
def test_each_build_is_a_network_of_its_own():
    network = find_network("my_nets:once", (3, 6, 6))
    one, other = network.build(), network.build()
    with torch.no_grad():
        one[0].weight.zero_()
    assert other[0].weight.abs().sum() > 0


@pytest.mark.usefixtures("_mine")
def test_what_is_called_may_import_from_the_current_folder():
    assert find_network("my_nets:inside", (3, 6, 6)).build()[2].out_features == 7


@pytest.mark.usefixtures("_mine")
def test_a_structure_tells_networks_of_one_name_apart(tmp_path):
    before = structure("my_nets:small", (3, 6, 6))
    assert before == structure("my_nets:once", (3, 6, 6)), "the same modules"
    (tmp_path / "my_nets.py").write_text(MINE.replace("Conv2d(3, 4, 3)", "Conv2d(3, 4, 3, bias=False)"))
    del sys.modules["my_nets"]
    importlib.invalidate_caches()
    structure.cache_clear()
    assert structure("my_nets:small", (3, 6, 6)) != before


@pytest.mark.usefixtures("_mine")
@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("cifar", None, "'cifar' is not one of .*did you mean 'cifar10'"),
        ("my_nets:small", None, "--input 3x224x224"),
        ("no_such_module:net", (3,), "cannot be imported: ModuleNotFoundError"),
        ("my_nets:smal", (3, 6, 6), "cannot be imported: AttributeError"),
        ("my_nets:size", (3, 6, 6), "is int; what is needed is a function"),
        ("my_nets:number", (3, 6, 6), "builds int; an nn.Module"),
        ("my_nets:broken", (3, 6, 6), "cannot be built: OSError: no weights"),
        ("my_nets:small", (4, 6, 6), "does not take an input of 4x6x6"),
        ("my_nets:lazy", (3, 6, 6), "has lazy modules"),
        ("my_nets:ends", (3, 6, 6), "cannot be built: SystemExit: 3"),
        ("my_nets:images", (3, 6, 6), "returns shape .*; logits of shape"),
        ("digits", (1, 9, 20), "does not take an input of 1x9x20"),
    ],
)
def test_what_is_wrong_is_said(name, shape, message):
    with pytest.raises(UserError, match=message):
        find_network(name, shape)
