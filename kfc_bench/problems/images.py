"""Labelled images, cut in three."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Images ``[N, C, H, W]`` in float32 and labels ``[N]``."""

    images: Tensor
    labels: Tensor

    def to(self, device: str) -> Split:
        """Return the split on another device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class ImageData:
    """A data set cut in three: to train on, to tune on, to report on."""

    train: Split
    validation: Split
    test: Split

    def to(self, device: str) -> ImageData:
        """Return the data on another device."""
        return ImageData(self.train.to(device), self.validation.to(device), self.test.to(device))
