"""From published images to what networks see: cut in three, scaled by what the training part says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from kfc_bench.problems.images import ImageData, Split
from kfc_bench.problems.raw import Raw

SPLIT_SEED = 1602

Statistics = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From the training images to what is subtracted from each image, and what it is then divided by."""


def mean_image(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean image, and one standard deviation of all pixels about it.

    cuda-convnet, and so the paper, subtracts the mean image only, of pixels in 0..255; the scale differs.

    Args:
        images: ``[N, C, H, W]``.

    Returns:
        ``[C, H, W]`` and a scalar.
    """
    variance, mean = torch.var_mean(images, dim=0, correction=0)
    return mean, variance.mean().sqrt()


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return each channel's mean and standard deviation (Srivastava et al. 2014, appendix B.2).

    Args:
        images: ``[N, C, H, W]``.

    Returns:
        Both ``[C, 1, 1]``.
    """
    deviation, mean = torch.std_mean(images, dim=(0, 2, 3), correction=0)
    return mean[:, None, None], deviation[:, None, None]


def prepare(train: Raw, test: Raw, validation: int, statistics: Statistics) -> ImageData:
    """Cut off validation images by one fixed permutation, and scale all images alike.

    Args:
        train: The published training images.
        test: The published test images.
        validation: How many of the former only tune.
        statistics: From the remaining training images, in [0, 1], to an offset and a scale.

    Returns:
        The data in float32: (pixels / 255 - offset) / scale.
    """
    order = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(SPLIT_SEED)).numpy()
    kept, held_out = order[:-validation], order[-validation:]
    images = [_unit(train.images[kept]), _unit(train.images[held_out]), _unit(test.images)]
    offset, scale = statistics(images[0])
    for part in images:
        part.sub_(offset).div_(scale)
    labels = (train.labels[kept], train.labels[held_out], test.labels)
    return ImageData(*(Split(part, torch.tensor(names)) for part, names in zip(images, labels, strict=True)))


def _unit(pixels: NDArray[Any]) -> Tensor:
    """Bring bytes to [0, 1]."""
    return torch.from_numpy(np.require(pixels, requirements=("C", "W"))).to(torch.float32).div_(255)


def as_colour(data: ImageData, size: int) -> ImageData:
    """Pad images with zeros all around, and repeat their one channel to three.

    Args:
        data: Images ``[N, 1, H, W]``.
        size: The new height and width.

    Returns:
        Images ``[N, 3, size, size]``.
    """

    def widened(split: Split) -> Split:
        border = (size - split.images.shape[-1]) // 2
        return Split(functional.pad(split.images, (border,) * 4).repeat(1, 3, 1, 1), split.labels)

    return ImageData(widened(data.train), widened(data.validation), widened(data.test))
