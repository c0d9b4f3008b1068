"""Problems: where their data is looked for, and the real Fashion-MNIST where Debian's package is installed."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from kfc_bench.errors import UserError
from kfc_bench.problems import places
from kfc_bench.problems.datasets import PROBLEMS, problem
from kfc_bench.problems.digits import digits
from kfc_bench.problems.networks import NETWORKS
from kfc_bench.problems.places import DEBIAN, VARIABLE, fetched_folder, search_folders
from kfc_bench.problems.preparation import mean_image
from kfc_bench.problems.published import CIFAR10, DATA_SETS, FASHION, SVHN
from tests.problems.small_sets import SMALL, TRAIN, fashion

debian = pytest.mark.skipif(
    not (DEBIAN / "fashion-mnist").is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)


@pytest.fixture
def _nowhere(tmp_path, monkeypatch):
    """Let only temporary folders be searched."""
    monkeypatch.setattr(places, "DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.usefixtures("_nowhere")
def test_the_users_folder_comes_first_then_debians(tmp_path, monkeypatch):
    small = fashion()
    wanted = small.data_set()
    assert wanted.search() is None
    small.write(tmp_path / "debian" / "fashion-mnist")
    assert wanted.find().where == tmp_path / "debian" / "fashion-mnist"
    small.write(tmp_path / "mine")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    assert wanted.find().where == tmp_path / "mine"


@pytest.mark.usefixtures("_nowhere")
def test_what_was_fetched_comes_last(tmp_path):
    small = fashion()
    fetched = tmp_path / "hub" / "kfc-bench" / "small"
    fetched.mkdir(parents=True)
    (fetched / "dataset_dict.json").touch()
    assert small.data_set().find().where == fetched
    small.write(tmp_path / "debian")
    assert small.data_set().find().where == tmp_path / "debian"


def test_the_cache_is_where_the_library_has_it(tmp_path, monkeypatch):
    for name in ("HF_DATASETS_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetched_folder() == tmp_path / ".cache" / "huggingface" / "datasets" / "kfc-bench"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert fetched_folder() == tmp_path / "home" / "datasets" / "kfc-bench"


@pytest.mark.usefixtures("_nowhere")
@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "digits"])
def test_absent_data_is_said_with_the_way_to_get_it(name, tmp_path):
    published = DATA_SETS["fashion" if name == "fashion32" else name]
    for call in (PROBLEMS[name].check, PROBLEMS[name].load):
        with pytest.raises(UserError) as refused:
            call()
        message = str(refused.value)
        assert message.startswith(f"data set {published.name!r} is not in {tmp_path / 'debian'}, ")
        assert published.origin in message
        assert f"kfc-bench data fetch {published.name}" in message
        assert "\n" not in message


@pytest.mark.usefixtures("_nowhere")
def test_a_folder_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nope"))
    with pytest.raises(UserError, match=r"KFC_BENCH_DATA: .*nope: there is no such folder"):
        search_folders()


@pytest.mark.usefixtures("_nowhere")
def test_training_images_are_counted_without_reading(tmp_path, monkeypatch):
    counts = {"digits": 1_197, "fashion": 55_000, "fashion32": 55_000, "cifar10": 45_000, "svhn": 67_257}
    assert {name: entry.train for name, entry in PROBLEMS.items()} == counts
    for name in ("train", "test", "extra"):
        (tmp_path / f"{name}_32x32.mat").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert PROBLEMS["svhn"].train == 67_257 + 531_131


@pytest.mark.usefixtures("_nowhere")
@pytest.mark.parametrize("name", SMALL)
def test_a_problem_of_small_files(name, tmp_path, monkeypatch):
    small = SMALL[name]()
    small.write(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    entry = problem(small.data_set(), small.shape, 6, mean_image)
    entry.check()
    data = entry.load()
    assert len(data.train.labels) == entry.train == TRAIN - 6
    assert data.train.images.shape[1:] == entry.input_shape
    assert set(data.train.labels.tolist()) <= set(range(entry.classes))


def test_published_counts_and_sums():
    for published, train, test in ((FASHION, 60_000, 10_000), (CIFAR10, 50_000, 10_000), (SVHN, 73_257, 26_032)):
        for layout in published.layouts:
            assert sum(part.images for part in layout.train) == train
            assert sum(part.images for part in layout.test) == test
            parts = (*layout.train, *layout.test, *layout.extra)
            sums = [file.checksum for part in parts for file in part.files if file.checksum is not None]
            sums += [layout.archive.checksum] if layout.archive is not None else []
            lengths = {"md5": 32, "sha256": 64}
            assert all(len(checksum.digest) == lengths[checksum.algorithm] for checksum in sums)
            assert len({checksum.digest for checksum in sums}) == len(sums) > 0
        assert published.hub.splits["test"] == test
        assert sum(published.hub.splits.values()) - test == train + sum(
            part.images for part in published.layouts[0].extra
        )


def test_every_problem_has_networks():
    for entry in PROBLEMS.values():
        assert any(network.input_shape == entry.input_shape for network in NETWORKS.values())


def test_the_digits_come_along():
    PROBLEMS["digits"].check()
    assert torch.equal(PROBLEMS["digits"].load().test.labels, digits().test.labels)


@debian
def test_the_real_fashion_mnist(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert FASHION.find().verify() == "checksums of 4 files agree"
    entry = PROBLEMS["fashion"]
    entry.check()
    data = entry.load()
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [55_000, 5_000, 10_000]
    assert data.train.images.shape[1:] == entry.input_shape
    # Of its 6,000 images in each class a twelfth is drawn away, by chance.
    counts = torch.bincount(data.train.labels)
    assert len(counts) == 10
    assert 5_400 < counts.min() <= counts.max() < 5_600
    assert_close(data.train.images.mean(0), torch.zeros(1, 28, 28), atol=1e-4, rtol=0)
    assert_close(data.train.images.double().square().mean().sqrt().item(), 1.0, atol=1e-5, rtol=0)
    assert data.test.labels[:8].tolist() == [9, 2, 1, 1, 6, 1, 4, 6]
