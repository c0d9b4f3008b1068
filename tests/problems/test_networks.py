from itertools import product

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from kfc_bench.problems.digits import digits
from kfc_bench.problems.networks import NETWORKS, layer_geometries
from kfc_bench.problems.paper import ResponseNorm

BLOCK = {"conv1": (576, 64, 64), "conv2": (576, 64, 64)}
LAYERS = {
    "cifar10": {"conv1": (76, 32, 1024), "conv2": (801, 32, 256), "conv3": (801, 64, 64), "fc": (1025, 10, 1)},
    "cifar10_bn": {"conv1": (75, 32, 1024), "conv2": (800, 32, 256), "conv3": (800, 64, 64), "fc": (1025, 10, 1)},
    "allconv": {
        "conv1": (28, 96, 1024),
        "conv2": (865, 96, 1024),
        "conv3": (865, 96, 256),
        "conv4": (865, 192, 256),
        "conv5": (1729, 192, 256),
        "conv6": (1729, 192, 64),
        "conv7": (1729, 192, 36),
        "conv8": (193, 192, 36),
        "conv9": (193, 10, 36),
    },
    "resnet20": {
        "conv1": (27, 16, 1024),
        **{f"layer1.{block}.{name}": (144, 16, 1024) for block in range(3) for name in ("conv1", "conv2")},
        "layer2.0.conv1": (144, 32, 256),
        "layer2.0.conv2": (288, 32, 256),
        "layer2.0.downsample.0": (16, 32, 256),
        **{f"layer2.{block}.{name}": (288, 32, 256) for block in (1, 2) for name in ("conv1", "conv2")},
        "layer3.0.conv1": (288, 64, 64),
        "layer3.0.conv2": (576, 64, 64),
        "layer3.0.downsample.0": (32, 64, 64),
        **{f"layer3.{block}.{name}": (576, 64, 64) for block in (1, 2) for name in ("conv1", "conv2")},
        "fc": (65, 10, 1),
    },
    "svhn": {
        "conv1": (76, 96, 1024),
        "conv2": (2401, 128, 256),
        "conv3": (3201, 256, 64),
        "fc1": (4097, 2048, 1),
        "fc2": (2049, 2048, 1),
        "fc3": (2049, 10, 1),
    },
    "resnet18": {
        "conv1": (147, 64, 256),
        **{f"layer1.{block}.{name}": sizes for block in (0, 1) for name, sizes in BLOCK.items()},
        "layer2.0.conv1": (576, 128, 16),
        "layer2.0.conv2": (1152, 128, 16),
        "layer2.0.downsample.0": (64, 128, 16),
        "layer2.1.conv1": (1152, 128, 16),
        "layer2.1.conv2": (1152, 128, 16),
        "layer3.0.conv1": (1152, 256, 4),
        "layer3.0.conv2": (2304, 256, 4),
        "layer3.0.downsample.0": (128, 256, 4),
        "layer3.1.conv1": (2304, 256, 4),
        "layer3.1.conv2": (2304, 256, 4),
        "layer4.0.conv1": (2304, 512, 1),
        "layer4.0.conv2": (4608, 512, 1),
        "layer4.0.downsample.0": (256, 512, 1),
        "layer4.1.conv1": (4608, 512, 1),
        "layer4.1.conv2": (4608, 512, 1),
        "fc": (513, 10, 1),
    },
    "digits": {"conv1": (10, 8, 64), "conv2": (73, 16, 16), "fc": (65, 10, 1)},
    "digits_small": {"conv1": (10, 4, 64), "conv2": (37, 8, 16), "fc": (33, 10, 1)},
    "fashion_small": {"conv1": (10, 6, 196), "conv2": (55, 12, 49), "conv3": (109, 12, 16), "fc": (13, 10, 1)},
}
LAYERS["svhn_bn"] = LAYERS["svhn"] | {"conv1": (75, 96, 1024), "conv2": (2400, 128, 256), "conv3": (3200, 256, 64)}
AVERAGED = {
    "cifar10_layers18": "cifar10",
    "cifar10_average": "cifar10",
    "svhn_average": "svhn",
    "digits_average": "digits",
}
"""Networks, each with the one that it differs from in its pooling only."""

LAYERS |= {name: LAYERS[origin] for name, origin in AVERAGED.items()}
every_network = pytest.mark.parametrize("name", NETWORKS)


@every_network
def test_factor_sizes_and_positions(name):
    geometries = layer_geometries(name)
    sizes = {layer: (entry.patch_dim, entry.out_channels, entry.positions) for layer, entry in geometries.items()}
    assert sizes == LAYERS[name]
    assert list(geometries) == list(LAYERS[name])


@every_network
def test_geometries_count_every_parameter(name):
    model = NETWORKS[name].build()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    norms = sum(2 * module.num_features for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert sum(entry.parameters for entry in layer_geometries(name).values()) + norms == parameters
    sizes = {
        "cifar10": 89_578,
        "cifar10_bn": 89_706,
        "svhn": 13_741_578,
        "allconv": 1_369_738,
        "resnet20": 272_474,
        "resnet18": 11_181_642,
        "digits": 1_898,
        "digits_small": 666,
        "fashion_small": 2_158,
        "svhn_bn": 13_742_058,
    }
    assert parameters == sizes[AVERAGED.get(name, name)]


@every_network
def test_logits(name):
    entry = NETWORKS[name]
    assert entry.build()(torch.zeros(2, *entry.input_shape)).shape == (2, entry.classes)


def test_cifar10_maps_halve_at_each_pooling():
    x, sizes = torch.zeros(1, 3, 32, 32), {}
    for name, module in NETWORKS["cifar10"].build().named_children():
        x = module(x)
        sizes[name] = tuple(x.shape[1:])
    assert [sizes[name] for name in ("conv1", "pool1", "conv2", "pool2", "conv3", "pool3")] == [
        (32, 32, 32),
        (32, 16, 16),
        (32, 16, 16),
        (32, 8, 8),
        (64, 8, 8),
        (64, 4, 4),
    ]


def poolings(name):
    return [
        (layer, type(module).__name__, module.kernel_size, module.stride, module.ceil_mode)
        for layer, module in NETWORKS[name].build().named_modules()
        if isinstance(module, nn.MaxPool2d | nn.AvgPool2d)
    ]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("cifar10", ["Max", "Max", "Avg"]),
        ("cifar10_layers18", ["Max", "Avg", "Avg"]),
        ("cifar10_average", ["Avg", "Avg", "Avg"]),
        ("svhn", ["Max", "Max", "Max"]),
        ("svhn_average", ["Avg", "Avg", "Avg"]),
    ],
)
def test_the_papers_networks_pool_alike_but_for_the_kind(name, kinds):
    assert poolings(name) == [(f"pool{index}", f"{kind}Pool2d", 3, 2, True) for index, kind in enumerate(kinds, 1)]


def test_averages_over_the_border_count_the_pixels_that_are_there():
    average = NETWORKS["cifar10_average"].build().pool1
    assert_close(average(torch.ones(1, 1, 32, 32)), torch.ones(1, 1, 16, 16))


def test_the_digits_networks_take_the_digits():
    images = digits().train.images[:2]
    for name in ("digits", "digits_average", "digits_small"):
        assert NETWORKS[name].input_shape == images.shape[1:]


def test_unknown_network():
    with pytest.raises(KeyError, match="mnist"):
        layer_geometries("mnist")


@pytest.mark.parametrize("size", [3, 5])
def test_response_norm_against_a_loop(size):
    scale, power, reach = 0.5, 0.75, size // 2
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.empty_like(x)
    for n, c, row, column in product(*map(range, x.shape)):
        window = x[n, c, max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        expected[n, c, row, column] = x[n, c, row, column] / (1 + scale * window.square().sum() / size**2) ** power
    assert_close(ResponseNorm(size, scale, power)(x), expected)
