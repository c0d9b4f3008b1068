"""The handwritten digits of scikit-learn (UCI "Optical Recognition of Handwritten Digits"), built in."""

from __future__ import annotations

import gzip
from importlib import resources

import numpy as np
import torch

from kfc_bench.problems.images import ImageData, Split

TRAIN, VALIDATION = 1197, 300
_SPLIT_SEED = 1602


def digits() -> ImageData:
    """Load 1,797 real 8x8 images of digits: 1,197 to train, 300 to validate, 300 to test.

    The split is one fixed permutation; pixels are scaled to [0, 1] and the training images' mean image
    is subtracted.

    Returns:
        Images ``[N, 1, 8, 8]`` and labels 0..9.
    """
    file = resources.files("kfc_bench.problems") / "digits.csv.gz"
    rows = np.array([line.split(",") for line in gzip.decompress(file.read_bytes()).decode().split()], dtype=np.int64)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    images = torch.from_numpy(rows[:, :-1]).to(torch.float32)[order].reshape(-1, 1, 8, 8) / 16
    labels = torch.from_numpy(rows[:, -1])[order]
    images = images - images[:TRAIN].mean(0)
    cuts = (slice(None, TRAIN), slice(TRAIN, TRAIN + VALIDATION), slice(TRAIN + VALIDATION, None))
    return ImageData(*(Split(images[cut], labels[cut]) for cut in cuts))
