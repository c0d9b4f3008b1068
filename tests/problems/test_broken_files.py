"""Damaged, foreign and hostile files: one line each, that names the file."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from kfc_bench.errors import UserError
from kfc_bench.problems.raw import Raw
from tests.problems.small_sets import SMALL, TEST, drawn, idx, mat, pickled, records

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
GREY, COLOUR = drawn(TEST, (1, 28, 28), 2), drawn(TEST, (3, 32, 32), 4)
FEWER = Raw(COLOUR.images[:9], COLOUR.labels[:9])
OUTSIDE = Raw(COLOUR.images, COLOUR.labels + 1)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch done",)


def batch(**more):
    values = {b"data": COLOUR.images.reshape(TEST, -1), b"labels": COLOUR.labels.tolist()}
    values |= {name.encode(): value for name, value in more.items()}
    return pickle.dumps({name: value for name, value in values.items() if value is not None}, 2)


BROKEN = {
    "magic number": ("idx", IMAGES, idx(GREY.labels), "begins with magic number 0x00000801; 0x00000803 is needed"),
    "header": ("idx", LABELS, b"\0\0\x08", "ends within its header, after 3 bytes"),
    "cut off": ("idx", IMAGES, idx(GREY.images[:, 0])[:-1], "7839 bytes after its header, which says 10x28x28"),
    "fewer images": ("idx", IMAGES, idx(GREY.images[:9, 0]), r"holds \[9, 28, 28\]; \[10, 28, 28\] is needed"),
    "fewer labels": ("idx", LABELS, idx(GREY.labels[:9]), r"labels \[9\] of uint8 for 10 images"),
    "label 10": ("idx", LABELS, idx(GREY.labels + 1), "holds label 10; labels are 0..9"),
    "code": ("pickles", "test_batch", pickle.dumps(Hostile(), 2), r"asks for \w+.system, .*not loaded"),
    "half a pickle": ("pickles", "test_batch", pickled(COLOUR)[:-5], "not a whole pickle"),
    "no pickle": ("pickles", "test_batch", b"hello", "not a whole pickle"),
    "other pickle": ("pickles", "test_batch", pickle.dumps([1], 2), "without 'data' and 'labels'"),
    "no labels": ("pickles", "test_batch", batch(labels=None), "without 'data' and 'labels'"),
    "data as a list": ("pickles", "test_batch", batch(data=[1]), r"its data is list; \[10, 3072\] is needed"),
    "real data": ("pickles", "test_batch", batch(data=np.zeros((TEST, 3072))), "of float64; .* of uint8 is needed"),
    "labels in words": ("pickles", "test_batch", batch(labels=["cat"] * TEST), "labels are no list of integers"),
    "smaller batch": ("pickles", "test_batch", pickled(FEWER), r"its data is \[9, 3072\]; \[10, 3072\] is needed"),
    "label 10 pickled": ("pickles", "test_batch", pickled(OUTSIDE), "holds label 10"),
    "truncated batch": ("records", "test_batch.bin", records(COLOUR)[:-1], "30729 bytes; 10 records of 3073 bytes"),
    "label 10 recorded": ("records", "test_batch.bin", records(OUTSIDE), "holds label 10"),
    "no X": ("mat", "test_32x32.mat", mat(COLOUR, X=None), "without X and y"),
    "no y": ("mat", "test_32x32.mat", mat(COLOUR, y=None), "without X and y"),
    "half a mat": ("mat", "test_32x32.mat", mat(COLOUR)[:-100], "not a whole MATLAB file"),
    "no mat": ("mat", "test_32x32.mat", b"hello", "not a whole MATLAB file"),
    "fewer in mat": ("mat", "test_32x32.mat", mat(FEWER), r"X is \[32, 32, 3, 9\] and y \[9, 1\]"),
    "label 0": ("mat", "test_32x32.mat", mat(COLOUR, y=np.zeros((TEST, 1), np.uint8)), "y goes from 0 to 0"),
    "label 11": ("mat", "test_32x32.mat", mat(COLOUR, y=np.full((TEST, 1), 11, np.uint8)), "y goes from 11 to 11"),
    "real labels": ("mat", "test_32x32.mat", mat(COLOUR, y=np.ones((TEST, 1))), "of float64; .* of integers"),
}


@pytest.mark.parametrize(("name", "file", "data", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_with_a_file_is_said(name, file, data, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = SMALL[name]()
    small.write(tmp_path)
    (tmp_path / file).write_bytes(data)
    with pytest.raises(UserError, match=message) as refused:
        small.layout.find(tmp_path).read()
    assert str(refused.value).startswith(f"{tmp_path / file}: ")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "done").exists(), "the pickle's code ran"


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-20], lambda data: data[:60] + b"\xff" * 60 + data[120:], lambda _: b"hello"],
    ids=["truncated", "damaged", "not gzip"],
)
def test_a_damaged_gz(damage, tmp_path):
    small = SMALL["idx"]()
    small.write(tmp_path, packed=True)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=f"{IMAGES}.gz: ends too early or is damaged"):
        small.layout.find(tmp_path).read()


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b"hello"], ids=["half", "other"])
def test_a_damaged_archive(damage, tmp_path):
    small = SMALL["records"]()
    layout = replace(small.layout, archive=small.archive(tmp_path))
    path = tmp_path / "set.tar.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"set\.tar\.gz: ends too early or is damaged"):
        layout.find(tmp_path).read()


def test_an_archive_without_a_batch(tmp_path):
    small = SMALL["records"]()
    layout = replace(small.layout, archive=small.archive(tmp_path))
    with gzip.open(tmp_path / "set.tar.gz", "wb") as file, tarfile.open(fileobj=file, mode="w"):
        pass
    with pytest.raises(UserError, match=r"set\.tar\.gz: holds no cifar-10-batches/data_batch_1\.bin"):
        layout.find(tmp_path).read()


def test_an_archive_that_cannot_be_read(tmp_path, monkeypatch):
    small = SMALL["records"]()
    found = replace(small.layout, archive=small.archive(tmp_path)).find(tmp_path)

    def unreadable(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(hashlib, "file_digest", unreadable)
    with pytest.raises(UserError, match=r"set\.tar\.gz: cannot be read \(\[Errno 5\] Input/output error\)$"):
        found.verify()
