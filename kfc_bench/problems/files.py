"""Bytes of a data set's files, from a folder or from within an archive, and their checksums."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from kfc_bench.errors import UserError

_DAMAGED = (EOFError, OSError, zlib.error, tarfile.TarError)


@dataclass(frozen=True)
class Checksum:
    """A published sum.

    Attributes:
        algorithm: A name that hashlib knows.
        digest: In hexadecimal digits.
    """

    algorithm: str
    digest: str


@dataclass(frozen=True)
class Content:
    """A file's bytes, unpacked, and its name for messages."""

    where: str
    data: bytes

    def verify(self, checksum: Checksum) -> None:
        """Hold the bytes to a published sum.

        Args:
            checksum: The sum.

        Raises:
            UserError: They have another.
        """
        _compare(self.where, hashlib.new(checksum.algorithm, self.data, usedforsecurity=False).hexdigest(), checksum)


def verify_file(path: Path, checksum: Checksum) -> None:
    """Hold a whole file to a published sum, without keeping it.

    Args:
        path: The file.
        checksum: The sum.

    Raises:
        UserError: It has another, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, checksum.algorithm).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({_words(error)})") from None
    _compare(str(path), digest, checksum)


def _compare(where: str, found: str, checksum: Checksum) -> None:
    if found != checksum.digest:
        raise UserError(
            f"{where}: {checksum.algorithm} is {found}, but {checksum.digest} was published; get the file again"
        )


def existing(folder: Path, name: str) -> Path | None:
    """Return a file of this name, or packed with gzip, or nothing."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def read_file(path: Path) -> Content:
    """Read a file, unpacked where it is packed.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        UserError: It cannot be read or unpacked.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except _DAMAGED as error:
        raise UserError(f"{path}: ends too early or is damaged ({_words(error)}); get it again") from None
    return Content(str(path), data)


def read_from_archive(archive: Path, folder: str, names: tuple[str, ...]) -> dict[str, Content]:
    """Read files out of a .tar.gz, in one pass and without unpacking it to disk.

    Args:
        archive: The archive.
        folder: Their folder in it.
        names: Their names.

    Returns:
        Their contents by name.

    Raises:
        UserError: One is missing, or the archive is damaged.
    """
    found = {}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = member.name.removeprefix("./").removeprefix(f"{folder}/")
                file = tar.extractfile(member) if name in names else None
                if file is not None:
                    found[name] = Content(f"{archive}: {name}", file.read())
    except _DAMAGED as error:
        raise UserError(f"{archive}: ends too early or is damaged ({_words(error)}); get it again") from None
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"{archive}: holds no {folder}/{missing[0]}")
    return found


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
