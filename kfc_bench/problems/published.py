"""The published data sets: their files and checksums, their copies on the Hugging Face hub, how to get them.

The MD5 sums of CIFAR-10 and SVHN are those that their authors and torchvision give. Those of Fashion-MNIST are SHA-256
sums of the unpacked files as Debian has them (dataset-fashion-mnist 0.0~git20200523.55506a9-1): Debian packs them anew,
so the published sums of the packed files would not fit there.
"""

from __future__ import annotations

from kfc_bench.problems.cifar import read_pickled, read_records
from kfc_bench.problems.data_set import DataSet
from kfc_bench.problems.files import Checksum
from kfc_bench.problems.hub import HubSet
from kfc_bench.problems.idx import read_idx
from kfc_bench.problems.sources import File, Layout, Part
from kfc_bench.problems.svhn import read_mat


def _md5(digest: str) -> Checksum:
    return Checksum("md5", digest)


def _idx(images: int, prefix: str, pixels: str, labels: str) -> Part:
    return Part(
        images,
        (
            File(f"{prefix}-images-idx3-ubyte", Checksum("sha256", pixels)),
            File(f"{prefix}-labels-idx1-ubyte", Checksum("sha256", labels)),
        ),
    )


FASHION = DataSet(
    "fashion",
    (
        Layout(
            "IDX",
            "fashion-mnist",
            read_idx,
            train=(
                _idx(
                    60_000,
                    "train",
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                ),
            ),
            test=(
                _idx(
                    10_000,
                    "t10k",
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                ),
            ),
        ),
    ),
    HubSet("fashion", "zalando-datasets/fashion_mnist", None, "image", (1, 28, 28), {"train": 60_000, "test": 10_000}),
    "apt-get install dataset-fashion-mnist; or the four files *-ubyte.gz of Zalando Research's Fashion-MNIST",
)

_PICKLED = (
    ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
    ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
    ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
    ("data_batch_4", "634d18415352ddfa80567beed471001a"),
    ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ("test_batch", "40351d587109b95175f43aff81a1287e"),
)
_CIFAR_PYTHON = [Part(10_000, (File(name, _md5(digest)),)) for name, digest in _PICKLED]
_CIFAR_BINARY = [Part(10_000, (File(f"{name}.bin"),)) for name, _ in _PICKLED]

CIFAR10 = DataSet(
    "cifar10",
    (
        Layout(
            "Python pickles",
            "cifar-10-batches-py",
            read_pickled,
            train=tuple(_CIFAR_PYTHON[:5]),
            test=tuple(_CIFAR_PYTHON[5:]),
            archive=File("cifar-10-python.tar.gz", _md5("c58f30108f718f92721af3b95e74349a")),
        ),
        Layout(
            "binary records",
            "cifar-10-batches-bin",
            read_records,
            train=tuple(_CIFAR_BINARY[:5]),
            test=tuple(_CIFAR_BINARY[5:]),
            archive=File("cifar-10-binary.tar.gz", _md5("c32a1d4ab5d03f1284b67883e8d87530")),
        ),
    ),
    HubSet("cifar10", "uoft-cs/cifar10", None, "img", (3, 32, 32), {"train": 50_000, "test": 10_000}),
    "cifar-10-python.tar.gz from the CIFAR-10 page of the University of Toronto",
)

SVHN = DataSet(
    "svhn",
    (
        Layout(
            "MATLAB",
            "svhn",
            read_mat,
            train=(Part(73_257, (File("train_32x32.mat", _md5("e26dedcc434d2e4c54c9b2d4a06d8373")),)),),
            test=(Part(26_032, (File("test_32x32.mat", _md5("eb5a983be6a315427106f1b164d9cef3")),)),),
            extra=(Part(531_131, (File("extra_32x32.mat", _md5("a93ce644f1a588dc4d68dda5feec44a7")),)),),
        ),
    ),
    HubSet(
        "svhn",
        "ufldl-stanford/svhn",
        "cropped_digits",
        "image",
        (3, 32, 32),
        {"train": 73_257, "extra": 531_131, "test": 26_032},
    ),
    "train_32x32.mat, test_32x32.mat and, for the full set, extra_32x32.mat from the SVHN page of Stanford University",
)

DATA_SETS = {data_set.name: data_set for data_set in (FASHION, CIFAR10, SVHN)}
"""What lies outside this package, by name."""
