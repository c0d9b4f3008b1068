"""Small data sets in the very formats of the published ones, with sums of their own."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from kfc_bench.problems.cifar import read_pickled, read_records
from kfc_bench.problems.data_set import DataSet
from kfc_bench.problems.files import Checksum
from kfc_bench.problems.hub import HubSet
from kfc_bench.problems.idx import read_idx
from kfc_bench.problems.raw import Raw
from kfc_bench.problems.sources import File, Layout, Part
from kfc_bench.problems.svhn import read_mat

TRAIN, TEST, BATCHES = 30, 10, 3


def drawn(count, shape, seed):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
    return Raw(images, generator.permutation(np.arange(count) % 10).astype(np.int64))


def part(raw, *files):
    """Describe files by their names and contents."""
    return Part(
        len(raw.labels), tuple(File(name, Checksum("md5", hashlib.md5(data).hexdigest())) for name, data in files)
    )


def slices(raw):
    size = len(raw.labels) // BATCHES
    cuts = [slice(start, start + size) for start in range(0, len(raw.labels), size)]
    return [Raw(raw.images[cut], raw.labels[cut]) for cut in cuts]


def idx(array):
    """Write IDX: two zero bytes, 8 for unsigned bytes, the number of dimensions, each size in big-endian order."""
    sizes = b"".join(struct.pack(">I", size) for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def idx_files(raw, prefix):
    return (f"{prefix}-images-idx3-ubyte", idx(raw.images[:, 0])), (f"{prefix}-labels-idx1-ubyte", idx(raw.labels))


def pickled(raw):
    return pickle.dumps({b"data": raw.images.reshape(len(raw.labels), -1), b"labels": raw.labels.tolist()}, protocol=2)


def python_2_pickled(raw):
    """Write a batch by the opcodes of Python 2, whose strings are bytes, as the published ones are."""
    data = raw.images.tobytes()

    def text(word):
        return b"U" + bytes([len(word)]) + word

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        b"(K\x01K" + bytes([len(raw.labels)]) + b"M" + struct.pack("<H", 3072) + b"\x86"
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + struct.pack("<i", len(data)) + data + b"tb"
    )
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in raw.labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + labels + b"u."


def records(raw):
    rows = np.concatenate([raw.labels[:, None].astype(np.uint8), raw.images.reshape(len(raw.labels), -1)], 1)
    return rows.tobytes()


def mat(raw, **more):
    buffer = io.BytesIO()
    labels = np.where(raw.labels == 0, 10, raw.labels)[:, None].astype(np.uint8)
    values = {"X": raw.images.transpose(2, 3, 1, 0), "y": labels, **more}
    scipy.io.savemat(buffer, {name: value for name, value in values.items() if value is not None}, do_compression=True)
    return buffer.getvalue()


@dataclass(frozen=True)
class SmallSet:
    """A data set, its files in one of its formats, and what they hold."""

    layout: Layout
    files: dict[str, bytes]
    train: Raw
    test: Raw

    @property
    def shape(self):
        return self.train.images.shape[1:]

    def write(self, folder: Path, *, packed=False):
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
        return folder

    def archive(self, folder: Path):
        """Write the .tar.gz, and describe it."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, data in self.files.items():
                member = tarfile.TarInfo(f"{self.layout.folder}/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        (folder / "set.tar.gz").write_bytes(buffer.getvalue())
        return File("set.tar.gz", Checksum("md5", hashlib.md5(buffer.getvalue()).hexdigest()))

    def data_set(self, name="small"):
        splits = {"train": TRAIN, "test": TEST}
        hub = HubSet(name, "someone/small", None, "image", self.shape, splits)
        return DataSet(name, (self.layout,), hub, "a page in words")


def fashion():
    train, test = drawn(TRAIN, (1, 28, 28), 1), drawn(TEST, (1, 28, 28), 2)
    one, other = idx_files(train, "train"), idx_files(test, "t10k")
    layout = Layout("IDX", "fashion-mnist", read_idx, (part(train, *one),), (part(test, *other),))
    return SmallSet(layout, dict(one + other), train, test)


def cifar(write, decode, suffix=""):
    train, test = drawn(TRAIN, (3, 32, 32), 3), drawn(TEST, (3, 32, 32), 4)
    files = [(f"data_batch_{index}{suffix}", write(raw)) for index, raw in enumerate(slices(train), start=1)]
    last = (f"test_batch{suffix}", write(test))
    batches = tuple(part(raw, file) for raw, file in zip(slices(train), files, strict=True))
    return SmallSet(
        Layout("batches", "cifar-10-batches", decode, batches, (part(test, last),)), dict([*files, last]), train, test
    )


def svhn():
    train, test = drawn(TRAIN, (3, 32, 32), 5), drawn(TEST, (3, 32, 32), 6)
    one, other = ("train_32x32.mat", mat(train)), ("test_32x32.mat", mat(test))
    layout = Layout("MATLAB", "svhn", read_mat, (part(train, one),), (part(test, other),))
    return SmallSet(layout, dict([one, other]), train, test)


SMALL = {
    "idx": fashion,
    "pickles": lambda: cifar(pickled, read_pickled),
    "pickles of Python 2": lambda: cifar(python_2_pickled, read_pickled),
    "records": lambda: cifar(records, read_records, ".bin"),
    "mat": svhn,
}
