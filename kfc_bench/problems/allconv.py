"""The all-convolutional network (Springenberg et al. 2015)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

LAYERS = (
    (3, 96, 3, 1),
    (96, 96, 3, 1),
    (96, 96, 3, 2),
    (96, 192, 3, 1),
    (192, 192, 3, 1),
    (192, 192, 3, 2),
    (192, 192, 3, 1),
    (192, 192, 1, 1),
)
"""Input and output channels, kernel and stride of all but the last."""


def all_convolutional(classes: int) -> nn.Module:
    """Build All-CNN-C for CIFAR-10, without dropout: a case and its check draw unlike masks.

    Every convolution is padded but the seventh, so that maps are 32, 16, 8 and 6 wide, as in the paper's table.

    Args:
        classes: Number of logits.

    Returns:
        The network, from ``[N, 3, 32, 32]`` to ``[N, classes]``.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (inputs, outputs, kernel, stride) in enumerate(LAYERS, start=1):
        padding = 0 if index == 7 else kernel // 2
        layers[f"conv{index}"] = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        layers[f"relu{index}"] = nn.ReLU()
    layers["conv9"], layers["relu9"] = nn.Conv2d(192, classes, 1), nn.ReLU()
    layers["pool"], layers["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(layers)
