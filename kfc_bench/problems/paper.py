"""The networks of the paper's experiments (Grosse & Martens 2016, section 5 and appendix D), and their variants."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional


class Pooling(Protocol):
    """A pooling by its constructor: ``nn.MaxPool2d`` or ``nn.AvgPool2d``."""

    def __call__(self, kernel_size: int, stride: int | None = None, *, ceil_mode: bool = False) -> nn.Module:
        """Make one."""


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


def cifar10(pool1: Pooling = nn.MaxPool2d, pool2: Pooling = nn.MaxPool2d) -> nn.Module:
    """Build cuda-convnet's ``layers-18pct`` network (section 5).

    The published file pools by averages after conv2. The paper's Fig. 3a shows derivatives there that are uncorrelated,
    which speaks of a maximum: the default. Its Figs. 3c and d have averages everywhere.

    Args:
        pool1: After conv1.
        pool2: After conv2.

    Returns:
        The network, from ``[N, 3, 32, 32]`` to ``[N, 10]``.
    """

    def norm() -> nn.Module:
        return ResponseNorm(3, 5e-5, 0.75)

    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 32, 5, padding=2),
            pool1=pool1(3, 2, ceil_mode=True),
            relu1=nn.ReLU(),
            norm1=norm(),
            conv2=nn.Conv2d(32, 32, 5, padding=2),
            relu2=nn.ReLU(),
            pool2=pool2(3, 2, ceil_mode=True),
            norm2=norm(),
            conv3=nn.Conv2d(32, 64, 5, padding=2),
            relu3=nn.ReLU(),
            pool3=nn.AvgPool2d(3, 2, ceil_mode=True),
            flatten=nn.Flatten(),
            fc=nn.Linear(1024, 10),
        )
    )


def svhn(pool: Pooling = nn.MaxPool2d) -> nn.Module:
    """Build the SVHN network of Srivastava et al. (2014), without dropout: a case and its check draw unlike masks.

    Args:
        pool: After each convolution.

    Returns:
        The network, from ``[N, 3, 32, 32]`` to ``[N, 10]``.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (inputs, outputs) in enumerate(((3, 96), (96, 128), (128, 256)), start=1):
        layers[f"conv{index}"] = nn.Conv2d(inputs, outputs, 5, padding=2)
        layers[f"relu{index}"] = nn.ReLU()
        layers[f"pool{index}"] = pool(3, 2, ceil_mode=True)
    layers["flatten"] = nn.Flatten()
    layers["fc1"], layers["relu4"] = nn.Linear(4096, 2048), nn.ReLU()
    layers["fc2"], layers["relu5"] = nn.Linear(2048, 2048), nn.ReLU()
    layers["fc3"] = nn.Linear(2048, 10)
    return nn.Sequential(layers)


def batch_normalised(network: nn.Module) -> nn.Module:
    """Put batch normalisation after each convolution, whose bias it makes idle, and take response normalisation out.

    Args:
        network: Of this file: modules that run one after another, with 5x5 convolutions.

    Returns:
        A network with new convolutions; the other modules are the given network's.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, module in network.named_children():
        if isinstance(module, nn.Conv2d):
            layers[name] = nn.Conv2d(module.in_channels, module.out_channels, 5, padding=2, bias=False)
            layers[f"bn{name[-1]}"] = nn.BatchNorm2d(module.out_channels)
        elif not isinstance(module, ResponseNorm):
            layers[name] = module
    return nn.Sequential(layers)
