"""What Hugging Face's `datasets` writes and fetches, on small data; nothing is downloaded."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import numpy as np
import pytest

from kfc_bench.errors import UserError
from kfc_bench.problems.found import NO_CHECKSUM
from kfc_bench.problems.raw import Raw
from tests.problems.small_sets import TEST, TRAIN, drawn, fashion, svhn

datasets = pytest.importorskip("datasets", reason="pip install 'kfc-bench[data]'")
Image = pytest.importorskip("PIL.Image", reason="pip install 'kfc-bench[data]'")


def stored(**splits):
    """Put images into the library's own table, as PNG."""

    def table(raw):
        pictures = [Image.fromarray(image.transpose(1, 2, 0).squeeze()) for image in raw.images]
        rows = datasets.Dataset.from_dict({"image": pictures, "label": raw.labels.tolist()})
        return rows.cast_column("image", datasets.Image())

    return datasets.DatasetDict({name: table(raw) for name, raw in splits.items()})


@pytest.fixture(autouse=True)
def _silent():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.mark.parametrize("make", [fashion, svhn], ids=["grey", "colour"])
def test_saved_to_disk_and_read_back(make, tmp_path):
    small = make()
    stored(train=small.train, test=small.test).save_to_disk(tmp_path / "small")
    found = small.data_set().hub.find(tmp_path)
    assert (found.where, found.train, found.test) == (tmp_path / "small", TRAIN, TEST)
    assert found.verify() == NO_CHECKSUM
    for raw, expected in zip(found.read(), (small.train, small.test), strict=True):
        np.testing.assert_array_equal(raw.images, expected.images)
        np.testing.assert_array_equal(raw.labels, expected.labels)


def test_every_split_but_the_test_images_is_trained_on(tmp_path):
    small, more = svhn(), drawn(4, (3, 32, 32), 9)
    hub = replace(small.data_set().hub, splits={"train": TRAIN, "extra": 4, "test": TEST})
    stored(train=small.train, extra=more, test=small.test).save_to_disk(tmp_path / "small")
    found = hub.find(tmp_path)
    assert found.train == TRAIN + 4
    np.testing.assert_array_equal(found.read()[0].labels, np.concatenate([small.train.labels, more.labels]))


def test_fetched_and_kept(tmp_path, monkeypatch):
    small, asked = fashion(), []

    def load_dataset(repository, configuration):
        asked.append((repository, configuration))
        return stored(train=small.train, test=small.test)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    hub = small.data_set().hub
    for _ in range(2):
        assert hub.fetch(tmp_path) == tmp_path / "small"
    assert asked == [("someone/small", None)] * 2
    np.testing.assert_array_equal(hub.find(tmp_path).read()[1].images, small.test.images)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_download_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def load_dataset(*_):
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match=r"^small: someone/small could not be fetched: ConnectionError: no network$"):
        fashion().data_set().hub.fetch(tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_the_library_it_says_what_to_install(tmp_path, monkeypatch):
    small = fashion()
    stored(train=small.train, test=small.test).save_to_disk(tmp_path / "small")
    monkeypatch.setitem(sys.modules, "datasets", None)
    hub = small.data_set().hub
    for call in (hub.find(tmp_path).read, lambda: hub.fetch(tmp_path)):
        with pytest.raises(UserError, match=r"datasets is not installed; pip install 'kfc-bench\[data\]'"):
            call()


FEW = drawn(9, (1, 28, 28), 2)
LARGE = drawn(TEST, (1, 32, 32), 2)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (FEW, "split test: holds 9 images; 10 are needed"),
        (LARGE, r"image 0 is \[32, 32\]; \[28, 28, 1\] is needed"),
        (Raw(fashion().test.images, fashion().test.labels + 1), "holds label 10"),
    ],
)
def test_other_images_than_those_are_refused(test, message, tmp_path):
    small = fashion()
    stored(train=small.train, test=test).save_to_disk(tmp_path / "small")
    with pytest.raises(UserError, match=message):
        small.data_set().hub.find(tmp_path).read()


def test_another_column(tmp_path):
    small = fashion()
    table = stored(train=small.train, test=small.test).rename_column("image", "picture")
    table.save_to_disk(tmp_path / "small")
    with pytest.raises(UserError, match="holds no column 'image', only picture, label"):
        small.data_set().hub.find(tmp_path).read()


def test_a_split_that_is_missing_and_one_that_is_damaged(tmp_path):
    small = fashion()
    stored(train=small.train).save_to_disk(tmp_path / "small")
    found = small.data_set().hub.find(tmp_path)
    with pytest.raises(UserError, match="holds no split 'test'; kfc-bench data fetch small"):
        found.check()
    (tmp_path / "small" / "test").mkdir()
    (tmp_path / "small" / "train" / "state.json").unlink()
    with pytest.raises(UserError, match="small: cannot be read"):
        found.read()


def test_a_split_that_the_data_set_does_not_name(tmp_path):
    """Its folder is there, but what is loaded are the splits that the library's own list names."""
    small = fashion()
    stored(train=small.train, test=small.test).save_to_disk(tmp_path / "small")
    (tmp_path / "small" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(UserError, match="small: holds no split 'test'; kfc-bench data fetch small"):
        small.data_set().hub.find(tmp_path).read()


def with_first_picture(small, folder, data):
    """Store the data set with other bytes in the place of the first test image."""
    splits = stored(train=small.train, test=small.test)
    rows = splits["test"].cast_column("image", datasets.Image(decode=False)).to_dict()
    rows["image"][0] = {"bytes": data, "path": None}
    splits["test"] = datasets.Dataset.from_dict(rows, features=splits["test"].features)
    splits.save_to_disk(folder / "small")
    return small.data_set().hub.find(folder)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


GREY = png(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8))


@pytest.mark.parametrize("size", [4, 40, 400], ids=["in its signature", "in its header", "in its pixels"])
def test_a_picture_that_is_cut_off(size, tmp_path):
    assert len(GREY) > 400
    with pytest.raises(UserError, match=r"small: cannot be read \(\w+\); kfc-bench data fetch small"):
        with_first_picture(fashion(), tmp_path, GREY[:size]).read()


def test_a_picture_of_more_than_a_byte_a_pixel(tmp_path):
    deep = png(np.full((28, 28), 1000, np.uint16))
    with pytest.raises(UserError, match=r"split test: image 0 is of u?int(16|32); uint8 is needed"):
        with_first_picture(fashion(), tmp_path, deep).read()
