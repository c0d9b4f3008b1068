"""Data sets of the Hugging Face hub, as the library `datasets` keeps them on disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kfc_bench.errors import UserError
from kfc_bench.problems.found import NO_CHECKSUM, Found
from kfc_bench.problems.raw import Raw, checked, joined

_CHUNK = 10_000
"""Images decoded at a time: as objects of Python they take some ten times their bytes."""


@dataclass(frozen=True)
class HubSet:
    """A data set of the hub.

    Attributes:
        name: Of the folder that it is kept in.
        repository: Its name on the hub.
        configuration: Which of the repository's, if there are several.
        image: The column of images; labels are in ``label``.
        shape: ``(C, H, W)``.
        splits: The splits that are needed, ``test`` among them, and how many images each holds.
    """

    name: str
    repository: str
    configuration: str | None
    image: str
    shape: tuple[int, int, int]
    splits: dict[str, int]

    def find(self, root: Path) -> Found | None:
        """Return the data set if `save_to_disk` has written it to a folder of its name."""
        return OnDisk(self, root / self.name) if (root / self.name / "dataset_dict.json").is_file() else None

    def fetch(self, root: Path) -> Path:
        """Download the data set, and keep it in a folder of its name.

        Args:
            root: Where that folder goes.

        Returns:
            The folder.

        Raises:
            UserError: `datasets` is not installed, or the download failed; nothing is left half written.
        """
        library = _library(self.name)
        folder, part = root / self.name, root / f"{self.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            library.load_dataset(self.repository, self.configuration).save_to_disk(part)
        except Exception as error:  # Whatever the network, the hub or the disk may say.
            shutil.rmtree(part, ignore_errors=True)
            words = " ".join(str(error).split())
            raise UserError(
                f"{self.name}: {self.repository} could not be fetched: {type(error).__name__}: {words}"
            ) from None
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
        return folder


def _library(name: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise UserError(f"{name}: Hugging Face's datasets is not installed; pip install 'kfc-bench[data]'") from None
    return datasets


@dataclass(frozen=True)
class OnDisk:
    """What `save_to_disk` has written; see `Found`."""

    data_set: HubSet
    where: Path

    @property
    def format(self) -> str:
        """See `Found`."""
        return "Hugging Face datasets"

    @property
    def train(self) -> int:
        """See `Found`."""
        return sum(images for split, images in self.data_set.splits.items() if split != "test")

    @property
    def test(self) -> int:
        """See `Found`."""
        return self.data_set.splits["test"]

    def check(self) -> None:
        """See `Found`."""
        for split in self.data_set.splits:
            if not (self.where / split).is_dir():
                raise self._without(split)

    def _without(self, split: str) -> UserError:
        return UserError(f"{self.where}: holds no split {split!r}; kfc-bench data fetch {self.data_set.name}")

    def verify(self) -> str:
        """See `Found`."""
        self.check()
        return NO_CHECKSUM

    def read(self) -> tuple[Raw, Raw]:
        """See `Found`."""
        self.check()
        library = _library(self.data_set.name)
        try:
            stored = library.load_from_disk(self.where)
            train = [self._split(stored, split) for split in self.data_set.splits if split != "test"]
            return joined(train), self._split(stored, "test")
        except UserError:
            raise
        except Exception as error:  # Arrow's errors, Pillow's and the library's own have no base in common.
            raise UserError(
                f"{self.where}: cannot be read ({type(error).__name__}); kfc-bench data fetch {self.data_set.name}"
            ) from None

    def _split(self, stored: Any, split: str) -> Raw:
        if split not in stored:
            raise self._without(split)
        rows, images = stored[split], self.data_set.splits[split]
        where = f"{self.where}: split {split}"
        lacking = {self.data_set.image, "label"} - set(rows.column_names)
        if lacking:
            raise UserError(f"{where}: holds no column {min(lacking)!r}, only {', '.join(rows.column_names)}")
        if len(rows) != images:
            raise UserError(f"{where}: holds {len(rows)} images; {images} are needed")
        channels, *size = self.data_set.shape
        pixels = np.empty((images, *self.data_set.shape), np.uint8)
        for start in range(0, images, _CHUNK):
            for place, picture in enumerate(rows[start : start + _CHUNK][self.data_set.image], start):
                array = np.asarray(picture)
                if array.dtype != np.uint8:
                    raise UserError(f"{where}: image {place} is of {array.dtype}; uint8 is needed")
                if array.shape != (*size, channels) and (channels, *array.shape) != self.data_set.shape:
                    raise UserError(f"{where}: image {place} is {list(array.shape)}; {[*size, channels]} is needed")
                pixels[place] = array.reshape(*size, channels).transpose(2, 0, 1)
        return checked(where, pixels, np.array(rows["label"]), pixels.shape)
