"""Splits and scales, against float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from kfc_bench.problems.images import ImageData, Split
from kfc_bench.problems.preparation import as_colour, channel_statistics, mean_image, prepare
from kfc_bench.problems.raw import Raw
from tests.problems.small_sets import drawn

VALIDATION = 8
TRAIN, TEST = (
    Raw(drawn(count, (3, 6, 6), seed).images, np.arange(count, dtype=np.int64)) for count, seed in ((40, 1), (10, 2))
)
"""Each image's label is its number."""


def by_mean_image(pixels):
    mean = pixels.mean(0)
    return mean, np.sqrt(((pixels - mean) ** 2).mean())


def by_channel(pixels):
    mean = pixels.mean((0, 2, 3), keepdims=True)[0]
    return mean, np.sqrt(((pixels - mean) ** 2).mean((0, 2, 3), keepdims=True))[0]


@pytest.mark.parametrize(("statistics", "independent"), [(mean_image, by_mean_image), (channel_statistics, by_channel)])
def test_all_are_scaled_by_what_the_training_part_says(statistics, independent):
    data = prepare(TRAIN, TEST, VALIDATION, statistics)
    offset, scale = independent(TRAIN.images[data.train.labels.numpy()] / 255)
    for split, published in ((data.train, TRAIN), (data.validation, TRAIN), (data.test, TEST)):
        expected = (published.images[split.labels.numpy()] / 255 - offset) / scale
        # Some ten roundings of numbers of order one.
        assert_close(split.images.double(), torch.from_numpy(expected), atol=1e-5, rtol=0)
        assert split.images.dtype == torch.float32
        assert split.images.is_contiguous()


def test_every_published_image_is_in_one_split():
    data = prepare(TRAIN, TEST, VALIDATION, mean_image)
    assert (len(data.train.labels), len(data.validation.labels)) == (32, VALIDATION)
    assert sorted(torch.cat([data.train.labels, data.validation.labels]).tolist()) == list(range(40))
    assert data.test.labels.tolist() == list(range(10))


def test_the_split_is_fixed_and_leaves_the_generator_alone():
    state = torch.get_rng_state()
    one, other = (prepare(TRAIN, TEST, VALIDATION, mean_image) for _ in range(2))
    assert torch.equal(one.train.labels, other.train.labels)
    assert one.validation.labels.tolist() == [31, 32, 24, 14, 7, 39, 34, 37]
    assert torch.equal(torch.get_rng_state(), state)


def test_one_channel_as_colour():
    images = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(4))
    wide = as_colour(ImageData(split, split, split), 10)
    for part in (wide.train, wide.validation, wide.test):
        assert part.images.shape == (4, 3, 10, 10)
        assert all(torch.equal(part.images[:, channel, 2:8, 2:8], images[:, 0]) for channel in range(3))
        assert_close(part.images.square().sum(), 3 * images.square().sum())
        assert part.labels is split.labels
