"""Networks by name, and the geometries of their layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import nn

from kfc_bench.problems.allconv import all_convolutional
from kfc_bench.problems.paper import Pooling, batch_normalised, cifar10, svhn
from kfc_bench.problems.resnet import ResNet18, ResNet20
from kfc_kernels import ConvGeometry


def _small_convnet(first: int, second: int, pool: Pooling = nn.MaxPool2d) -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, first, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=pool(2),
            conv2=nn.Conv2d(first, second, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=pool(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(4 * second, 10),
        )
    )


def _strided_convnet(*widths: int) -> nn.Module:
    """Build convolutions that halve the map each, and a mean over what is left: few parameters on large images."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (inputs, outputs) in enumerate(pairwise((1, *widths)), start=1):
        layers[f"conv{index}"] = nn.Conv2d(inputs, outputs, 3, 2, padding=1)
        layers[f"relu{index}"] = nn.ReLU()
    layers["pool"], layers["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    layers["fc"] = nn.Linear(widths[-1], 10)
    return nn.Sequential(layers)


@dataclass(frozen=True)
class Network:
    """A classifier of images.

    Attributes:
        build: Makes a freshly initialised network.
        input_shape: Of one example, ``(C, H, W)`` of an image.
        classes: Number of logits.
    """

    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    classes: int


NETWORKS: dict[str, Network] = {
    "cifar10": Network(cifar10, (3, 32, 32), 10),
    "cifar10_layers18": Network(lambda: cifar10(pool2=nn.AvgPool2d), (3, 32, 32), 10),
    "cifar10_average": Network(lambda: cifar10(nn.AvgPool2d, nn.AvgPool2d), (3, 32, 32), 10),
    "cifar10_bn": Network(lambda: batch_normalised(cifar10()), (3, 32, 32), 10),
    "svhn": Network(svhn, (3, 32, 32), 10),
    "svhn_average": Network(lambda: svhn(nn.AvgPool2d), (3, 32, 32), 10),
    "svhn_bn": Network(lambda: batch_normalised(svhn()), (3, 32, 32), 10),
    "allconv": Network(lambda: all_convolutional(10), (3, 32, 32), 10),
    "resnet20": Network(lambda: ResNet20(10), (3, 32, 32), 10),
    "resnet18": Network(lambda: ResNet18(10), (3, 32, 32), 10),
    "digits": Network(lambda: _small_convnet(8, 16), (1, 8, 8), 10),
    "digits_small": Network(lambda: _small_convnet(4, 8), (1, 8, 8), 10),
    "digits_average": Network(lambda: _small_convnet(8, 16, nn.AvgPool2d), (1, 8, 8), 10),
    "fashion_small": Network(lambda: _strided_convnet(6, 12, 12), (1, 28, 28), 10),
}


@cache
def layer_geometries(network: str) -> dict[str, ConvGeometry]:
    """Read the geometries of a network's layers off one example.

    On real tensors: the first ReLU on the meta device would import torch's compiler, most of a second.

    Args:
        network: A key of `NETWORKS`.

    Returns:
        Geometries by layer name, in order of the forward pass.

    Raises:
        KeyError: There is no such network.
    """
    geometries: dict[str, ConvGeometry] = {}
    entry = NETWORKS[network]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = entry.build().eval()
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_pre_hook(
                    lambda module, inputs, name=name: geometries.update(
                        {name: ConvGeometry.from_module(module, inputs[0])}
                    )
                )
        model(torch.empty(1, *entry.input_shape))
    return geometries
