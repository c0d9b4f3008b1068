"""What is known of a data set that lies somewhere, in whichever form."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from kfc_bench.problems.raw import Raw

NO_CHECKSUM = "no published checksum"


class Found(Protocol):
    """A data set that lies somewhere."""

    @property
    def where(self) -> Path:
        """The folder or the archive."""

    @property
    def format(self) -> str:
        """What it is stored as, in words."""

    @property
    def train(self) -> int:
        """Published training images, with those of ``extra``."""

    @property
    def test(self) -> int:
        """Test images."""

    def check(self) -> None:
        """Raise UserError if a file is missing; nothing is read."""

    def verify(self) -> str:
        """Hold every file to its published checksum: what was found, in words, or UserError."""

    def read(self) -> tuple[Raw, Raw]:
        """Read and verify the training and the test images, or raise UserError."""


class Source(Protocol):
    """A form in which a data set may lie in a folder."""

    def find(self, root: Path) -> Found | None:
        """Return the data set if it lies in this folder or in its usual place below it."""
