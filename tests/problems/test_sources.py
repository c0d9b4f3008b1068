"""Small data sets, read back from every format and every place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kfc_bench.errors import UserError
from kfc_bench.problems.cifar import read_pickled
from kfc_bench.problems.found import NO_CHECKSUM
from kfc_bench.problems.sources import File
from tests.problems.small_sets import SMALL, TEST, TRAIN, cifar, drawn, mat, part, pickled, svhn

every_format = pytest.mark.parametrize("name", SMALL)


def assert_same(found, small):
    for raw, expected in zip(found.read(), (small.train, small.test), strict=True):
        np.testing.assert_array_equal(raw.images, expected.images)
        np.testing.assert_array_equal(raw.labels, expected.labels)
        assert (raw.images.dtype, raw.labels.dtype) == (np.uint8, np.int64)


@every_format
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("below", [False, True], ids=["directly", "usual folder"])
def test_files_give_what_was_written(name, packed, below, tmp_path):
    small = SMALL[name]()
    folder = small.write(tmp_path / small.layout.folder if below else tmp_path, packed=packed)
    found = small.layout.find(tmp_path)
    assert (found.where, found.train, found.test) == (folder, TRAIN, TEST)
    assert found.verify() == f"checksums of {len(small.files)} files agree"
    assert_same(found, small)


@pytest.mark.parametrize("name", ["pickles", "records"])
def test_an_archive_is_read_as_it_is(name, tmp_path):
    small = SMALL[name]()
    layout = replace(small.layout, archive=small.archive(tmp_path))
    found = layout.find(tmp_path)
    found.check()
    assert found.format == "batches, in its archive"
    assert found.verify() == "the archive's checksum agrees"
    assert (found.train, found.test) == (TRAIN, TEST)
    assert_same(found, small)
    small.write(tmp_path)
    assert layout.find(tmp_path).where == tmp_path, "unpacked files come first"


def test_extra_images_are_trained_on_where_they_are(tmp_path):
    small, more = svhn(), drawn(20, (3, 32, 32), 7)
    layout = replace(small.layout, extra=(part(more, ("extra_32x32.mat", mat(more))),))
    small.write(tmp_path)
    assert layout.find(tmp_path).train == TRAIN
    (tmp_path / "extra_32x32.mat").write_bytes(mat(more))
    found = layout.find(tmp_path)
    assert found.train == TRAIN + 20
    train, _ = found.read()
    np.testing.assert_array_equal(train.labels, np.concatenate([small.train.labels, more.labels]))
    np.testing.assert_array_equal(train.images[TRAIN:], more.images)


def test_a_format_without_published_sums_says_so(tmp_path):
    small = cifar(pickled, read_pickled)
    small.write(tmp_path)

    def bare(parts):
        return tuple(replace(one, files=tuple(File(file.name) for file in one.files)) for one in parts)

    layout = replace(small.layout, train=bare(small.layout.train), test=bare(small.layout.test))
    found = layout.find(tmp_path)
    assert found.verify() == NO_CHECKSUM
    assert_same(found, small)
    archived = replace(layout, archive=File(small.archive(tmp_path).name))
    for path in tmp_path.glob("*batch*"):
        path.unlink()
    assert archived.find(tmp_path).verify() == NO_CHECKSUM


@every_format
def test_right_form_and_wrong_sum_names_both_sums(name, tmp_path):
    small, other = SMALL[name](), SMALL[name]()
    file = other.layout.test[0].files[0]
    wrong = replace(file, checksum=replace(file.checksum, digest="0" * 32))
    files = (wrong, *other.layout.test[0].files[1:])
    layout = replace(small.layout, test=(replace(other.layout.test[0], files=files),))
    small.write(tmp_path)
    for call in (layout.find(tmp_path).read, layout.find(tmp_path).verify):
        with pytest.raises(UserError) as refused:
            call()
        words = [str(tmp_path / file.name), file.checksum.digest, "0" * 32]
        assert all(word in str(refused.value) for word in words)


def test_a_wrong_sum_of_an_archive(tmp_path):
    small = SMALL["records"]()
    archive = small.archive(tmp_path)
    wrong = replace(archive, checksum=replace(archive.checksum, digest="0" * 32))
    with pytest.raises(UserError, match=rf"set.tar.gz: md5 is {archive.checksum.digest}, but 0{{32}} was published"):
        replace(small.layout, archive=wrong).find(tmp_path).read()


@every_format
def test_a_missing_file_is_named_before_anything_is_read(name, tmp_path):
    small = SMALL[name]()
    small.write(tmp_path)
    last = small.layout.test[-1].files[-1].name
    (tmp_path / last).unlink()
    for path in tmp_path.iterdir():
        path.write_bytes(b"not read")
    with pytest.raises(UserError, match=f"{last}: this file of the data set is missing"):
        small.layout.find(tmp_path).check()


def test_nothing_is_found_where_nothing_is(tmp_path):
    assert SMALL["idx"]().layout.find(tmp_path) is None
