"""Residual networks of basic blocks (He et al. 2016), with torchvision's names of modules."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each normalised, beside a shortcut.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Of the first convolution, and of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[N, outputs, H/stride, W/stride]``."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(residual + self.downsample(x))


class _ResNet(nn.Module):
    """Children that run one after another, in the order in which they were added; the last, ``fc``, on flat inputs."""

    fc: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[N, classes]`` of images ``[N, 3, H, W]``."""
        for module in self.children():
            x = module(x.flatten(1) if module is self.fc else x)
        return x


class ResNet18(_ResNet):
    """ResNet-18 as for ImageNet: a 7x7 stem, a max pooling, four stages of two blocks.

    Args:
        classes: Number of logits.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        widths = (64, 64, 128, 256, 512)
        for stage, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            first = BasicBlock(inputs, outputs, 1 if stage == 1 else 2)
            self.add_module(f"layer{stage}", nn.Sequential(first, BasicBlock(outputs, outputs, 1)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, classes)


class ResNet20(_ResNet):
    """ResNet-20 for CIFAR (section 4.2): a 3x3 stem, three stages of three blocks with 16, 32 and 64 channels.

    Where the map halves, the shortcut is a 1x1 convolution (option B; the paper's CIFAR networks take option A, which
    fills up with zeros and has no parameters).

    Args:
        classes: Number of logits.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        for stage, (inputs, outputs) in enumerate(pairwise((16, 16, 32, 64)), start=1):
            first = BasicBlock(inputs, outputs, 1 if stage == 1 else 2)
            rest = (BasicBlock(outputs, outputs, 1) for _ in range(2))
            self.add_module(f"layer{stage}", nn.Sequential(first, *rest))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, classes)
