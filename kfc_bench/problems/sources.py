"""A data set's files in one format: which they are, where they may lie, how they are read and verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kfc_bench.errors import UserError
from kfc_bench.problems.files import Checksum, Content, existing, read_file, read_from_archive, verify_file
from kfc_bench.problems.found import NO_CHECKSUM, Found
from kfc_bench.problems.raw import Raw, joined

Decode = Callable[[tuple[Content, ...], int], Raw]


@dataclass(frozen=True)
class File:
    """A file's name, and its published checksum if it has one, of its unpacked content."""

    name: str
    checksum: Checksum | None = None


@dataclass(frozen=True)
class Part:
    """Files that are decoded together, and how many images they hold."""

    images: int
    files: tuple[File, ...]


@dataclass(frozen=True)
class Layout:
    """The published files of a data set in one format.

    Attributes:
        format: In words.
        folder: Their usual folder, and that within the archive.
        decode: From a part's contents to images.
        train: What must be there to train on.
        test: Likewise to test on.
        extra: What is trained on as well, where it lies beside the others.
        archive: The .tar.gz that they are published in, its checksum that of the archive itself.
    """

    format: str
    folder: str
    decode: Decode
    train: tuple[Part, ...]
    test: tuple[Part, ...]
    extra: tuple[Part, ...] = ()
    archive: File | None = None

    def find(self, root: Path) -> Found | None:
        """Return the data set if any of its files, or the archive, lies in this folder or in its usual place below."""
        for folder in (root, root / self.folder):
            if any(existing(folder, file.name) for part in (*self.train, *self.test) for file in part.files):
                return InFolder(self, folder)
            if self.archive is not None and (folder / self.archive.name).is_file():
                return InArchive(self, folder / self.archive.name, self.archive)
        return None

    def assembled(self, contents: dict[str, Content], parts: tuple[Part, ...], *, verify: bool) -> Raw:
        """Decode parts, and hold them to their checksums once their form is known to be right."""
        decoded = []
        for part in parts:
            decoded.append(self.decode(tuple(contents[file.name] for file in part.files), part.images))
            for file in part.files if verify else ():
                if file.checksum is not None:
                    contents[file.name].verify(file.checksum)
        return joined(decoded)


def _count(parts: tuple[Part, ...]) -> int:
    return sum(part.images for part in parts)


def _files(*parts: Part) -> tuple[File, ...]:
    return tuple(file for part in parts for file in part.files)


@dataclass(frozen=True)
class InFolder:
    """Files that lie in a folder; see `Found`."""

    layout: Layout
    where: Path

    @property
    def format(self) -> str:
        """See `Found`."""
        return self.layout.format

    @property
    def _train(self) -> tuple[Part, ...]:
        extra = (part for part in self.layout.extra if all(existing(self.where, file.name) for file in part.files))
        return (*self.layout.train, *extra)

    @property
    def train(self) -> int:
        """See `Found`."""
        return _count(self._train)

    @property
    def test(self) -> int:
        """See `Found`."""
        return _count(self.layout.test)

    def check(self) -> None:
        """See `Found`."""
        for file in _files(*self.layout.train, *self.layout.test):
            self._path(file)

    def _path(self, file: File) -> Path:
        path = existing(self.where, file.name)
        if path is None:
            raise UserError(f"{self.where / file.name}: this file of the data set is missing; others are there")
        return path

    def verify(self) -> str:
        """See `Found`."""
        files = _files(*self._train, *self.layout.test)
        for file in files:
            path = self._path(file)
            if file.checksum is not None:
                read_file(path).verify(file.checksum)
        return f"checksums of {len(files)} files agree" if all(file.checksum for file in files) else NO_CHECKSUM

    def read(self) -> tuple[Raw, Raw]:
        """See `Found`."""
        self.check()

        def read(parts: tuple[Part, ...]) -> Raw:
            contents = {file.name: read_file(self._path(file)) for file in _files(*parts)}
            return self.layout.assembled(contents, parts, verify=True)

        return read(self._train), read(self.layout.test)


@dataclass(frozen=True)
class InArchive:
    """The published .tar.gz, not unpacked; see `Found`."""

    layout: Layout
    where: Path
    archive: File

    @property
    def format(self) -> str:
        """See `Found`."""
        return f"{self.layout.format}, in its archive"

    @property
    def train(self) -> int:
        """See `Found`."""
        return _count(self.layout.train)

    @property
    def test(self) -> int:
        """See `Found`."""
        return _count(self.layout.test)

    def check(self) -> None:
        """See `Found`: the archive is there, or it would not have been found."""

    def verify(self) -> str:
        """See `Found`."""
        if self.archive.checksum is None:
            return NO_CHECKSUM
        verify_file(self.where, self.archive.checksum)
        return "the archive's checksum agrees"

    def read(self) -> tuple[Raw, Raw]:
        """See `Found`."""
        names = tuple(file.name for file in _files(*self.layout.train, *self.layout.test))
        contents = read_from_archive(self.where, self.layout.folder, names)
        train, test = (
            self.layout.assembled(contents, parts, verify=False) for parts in (self.layout.train, self.layout.test)
        )
        self.verify()
        return train, test
