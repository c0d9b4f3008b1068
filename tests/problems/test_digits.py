from collections import Counter

import torch
from sklearn.datasets import load_digits
from torch.testing import assert_close

from kfc_bench.problems.digits import digits

FIRST_LABELS = [[7, 6, 2, 0, 4, 2, 2, 3], [5, 2, 5, 1, 2, 9, 4, 7], [8, 2, 5, 8, 7, 5, 0, 7]]


def splits():
    data = digits()
    return data.train, data.validation, data.test


def test_the_images_are_those_of_scikit_learn():
    theirs = load_digits()
    rows = torch.cat([torch.from_numpy(theirs.data), torch.from_numpy(theirs.target).unsqueeze(1)], 1).long()
    images = torch.cat([split.images for split in splits()])
    labels = torch.cat([split.labels for split in splits()])
    mean = rows[:, :-1].float().mean(0) / 16
    offset = (images.flatten(1).mean(0) - mean).round(decimals=7)
    restored = ((images.flatten(1) - offset) * 16).round().long()
    ours = torch.cat([restored, labels.unsqueeze(1)], 1)
    assert Counter(map(tuple, ours.tolist())) == Counter(map(tuple, rows.tolist()))


def test_sizes_and_types():
    assert [tuple(split.images.shape) for split in splits()] == [(1197, 1, 8, 8), (300, 1, 8, 8), (300, 1, 8, 8)]
    assert all(split.images.dtype == torch.float32 and split.labels.dtype == torch.int64 for split in splits())
    assert all(set(split.labels.tolist()) == set(range(10)) for split in splits())


def test_the_training_mean_is_subtracted_everywhere():
    train, validation, test = splits()
    assert_close(train.images.mean(0), torch.zeros(1, 8, 8), atol=1e-6, rtol=0)
    assert all(split.images.min() >= -1 and split.images.max() <= 1 for split in (train, validation, test))


def test_no_example_stands_in_two_splits():
    train, validation, test = ({row.numpy().tobytes() for row in split.images} for split in splits())
    assert train.isdisjoint(validation | test)
    assert validation.isdisjoint(test)


def test_the_split_is_fixed_and_leaves_the_generator_alone():
    state = torch.get_rng_state()
    first, second = splits(), splits()
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, second, strict=True))
    assert [split.labels[:8].tolist() for split in first] == FIRST_LABELS
    assert torch.equal(torch.get_rng_state(), state)
