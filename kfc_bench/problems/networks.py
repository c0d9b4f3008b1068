"""Networks by name, and the geometries of their layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from kfc_bench.problems.allconv import all_convolutional
from kfc_bench.problems.resnet import ResNet18, ResNet20
from kfc_kernels import ConvGeometry


class ResponseNorm(nn.Module):
    """Response normalisation within each map over a square of positions, as in cuda-convnet.

    Args:
        size: Side of the square.
        scale: Factor of the mean of squares.
        power: Exponent of the denominator.
    """

    def __init__(self, size: int, scale: float, power: float) -> None:
        super().__init__()
        self.size, self.scale, self.power = size, scale, power

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[N, C, H, W]``."""
        mean_square = functional.avg_pool2d(x.square(), self.size, stride=1, padding=self.size // 2)
        return x / (1 + self.scale * mean_square).pow(self.power)


def _cifar10() -> nn.Module:
    """Build cuda-convnet's ``layers-18pct`` network, with the inferred max pooling after conv2."""

    def norm() -> nn.Module:
        return ResponseNorm(3, 5e-5, 0.75)

    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 32, 5, padding=2),
            pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
            relu1=nn.ReLU(),
            norm1=norm(),
            conv2=nn.Conv2d(32, 32, 5, padding=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(3, 2, ceil_mode=True),
            norm2=norm(),
            conv3=nn.Conv2d(32, 64, 5, padding=2),
            relu3=nn.ReLU(),
            pool3=nn.AvgPool2d(3, 2, ceil_mode=True),
            flatten=nn.Flatten(),
            fc=nn.Linear(1024, 10),
        )
    )


def _cifar10_bn() -> nn.Module:
    """Build `_cifar10` with batch normalisation after each convolution, in the place of response normalisation."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, module in _cifar10().named_children():
        if isinstance(module, nn.Conv2d):
            layers[name] = nn.Conv2d(module.in_channels, module.out_channels, 5, padding=2, bias=False)
            layers[f"bn{name[-1]}"] = nn.BatchNorm2d(module.out_channels)
        elif not isinstance(module, ResponseNorm):
            layers[name] = module
    return nn.Sequential(layers)


def _svhn() -> nn.Module:
    """Build the SVHN network of Srivastava et al. (2014), without dropout: a case and its check draw unlike masks."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (inputs, outputs) in enumerate(((3, 96), (96, 128), (128, 256)), start=1):
        layers[f"conv{index}"] = nn.Conv2d(inputs, outputs, 5, padding=2)
        layers[f"relu{index}"] = nn.ReLU()
        layers[f"pool{index}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    layers["flatten"] = nn.Flatten()
    layers["fc1"], layers["relu4"] = nn.Linear(4096, 2048), nn.ReLU()
    layers["fc2"], layers["relu5"] = nn.Linear(2048, 2048), nn.ReLU()
    layers["fc3"] = nn.Linear(2048, 10)
    return nn.Sequential(layers)


def _small_convnet(first: int, second: int) -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, first, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(first, second, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(4 * second, 10),
        )
    )


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
    "cifar10": Network(_cifar10, (3, 32, 32), 10),
    "cifar10_bn": Network(_cifar10_bn, (3, 32, 32), 10),
    "svhn": Network(_svhn, (3, 32, 32), 10),
    "allconv": Network(lambda: all_convolutional(10), (3, 32, 32), 10),
    "resnet20": Network(lambda: ResNet20(10), (3, 32, 32), 10),
    "resnet18": Network(lambda: ResNet18(10), (3, 32, 32), 10),
    "digits": Network(lambda: _small_convnet(8, 16), (1, 8, 8), 10),
    "digits_small": Network(lambda: _small_convnet(4, 8), (1, 8, 8), 10),
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
