"""Images as they are published: bytes, before any preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfc_bench.errors import UserError

CLASSES = 10


@dataclass(frozen=True)
class Raw:
    """Pixels ``[N, C, H, W]`` in 0..255 and labels ``[N]`` in 0..9."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def checked(where: str, images: NDArray[Any], labels: NDArray[Any], shape: tuple[int, ...]) -> Raw:
    """Hold what a file gave to what it should give.

    Args:
        where: The file, for the message.
        images: Pixels.
        labels: Labels.
        shape: ``(N, C, H, W)``.

    Returns:
        Both.

    Raises:
        UserError: A shape or a type is another, or a label lies outside 0..9.
    """
    if images.shape != shape or images.dtype != np.uint8:
        raise UserError(
            f"{where}: holds images {list(images.shape)} of {images.dtype}; {list(shape)} of uint8 is needed"
        )
    if labels.shape != shape[:1] or labels.dtype.kind not in "iu":
        raise UserError(
            f"{where}: holds labels {list(labels.shape)} of {labels.dtype} for {shape[0]} images; integers are needed"
        )
    outside = labels[(labels < 0) | (labels >= CLASSES)]
    if len(outside):
        raise UserError(f"{where}: holds label {outside[0]}; labels are 0..{CLASSES - 1}")
    return Raw(images, labels.astype(np.int64))


def joined(parts: Sequence[Raw]) -> Raw:
    """Put parts behind one another."""
    return Raw(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))
