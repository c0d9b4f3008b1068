import pytest
import torch

from kfc_bench.errors import UserError
from kfc_bench.prediction.layer_list import read_layers
from kfc_bench.prediction.replay import Step, replay

TOML = """
layer = [
  "cifar10.fc",
  { in_channels = 3, out_channels = 8, size = 8, kernel = 3, padding = 1 },
  { in_channels = 2, out_channels = 4, size = [9], kernel = 3, bias = true },
]
"""
JSON = '{"layer": [{"in_channels": 3, "out_channels": 8, "size": 8, "kernel": 3, "stride": 2}]}'


def test_each_layer_runs_on_an_input_of_its_own(tmp_path):
    path = tmp_path / "layers.toml"
    path.write_text(TOML)
    network = read_layers(path)
    assert network.input_shape == (1024 + 3 * 64 + 18,)
    logits = network.build()(torch.randn(2, *network.input_shape))
    assert logits.shape == (2, network.classes) == (2, 3)
    gone = replay(network, Step("kfc", 4))
    assert {("input factor", f"layers.{place}") for place in range(3)} <= set(gone.full)


def test_a_layer_may_be_there_twice(tmp_path):
    path = tmp_path / "layers.toml"
    path.write_text('layer = ["cifar10.fc", "cifar10.fc"]')
    assert read_layers(path).classes == 2


def test_json_says_the_same(tmp_path):
    path = tmp_path / "layers.json"
    path.write_text(JSON)
    assert read_layers(path).input_shape == (192,)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("layers.toml", "layer = [", "cannot be read"),
        ("layers.json", "[1]", "a table is needed"),
        ("layers.toml", "layer = [{ in_channels = 3 }]", "'size' is missing"),
        ("layers.toml", 'layer = "cifar10.conv9"', "conv9"),
        ("layers.toml", 'layer = "cifar10.fc"\nbatch = 3', "batch"),
    ],
)
def test_what_is_no_list_of_layers(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_layers(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_layers(tmp_path / "layers.toml")
