"""Where a run keeps cases that are under way, so that what ends a worker or the run costs one visit of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CHECKPOINTS = "checkpoints"
"""A folder of a run; no results lie in it."""


@dataclass(frozen=True)
class Checkpoints:
    """One file a case, `<case_id>.pt`; the folder is there while a file is.

    Args:
        folder: Where they lie.
    """

    folder: Path

    def _file(self, case_id: str) -> Path:
        return self.folder / f"{case_id}.pt"

    def _partial(self, case_id: str) -> Path:
        return self.folder / f"{case_id}.pt.partial"

    def save(self, case_id: str, state: dict[str, Any]) -> None:
        """Replace a case's checkpoint; whatever interrupts it leaves the one before.

        Args:
            case_id: The case.
            state: As ``torch.load(weights_only=True)`` reads it.

        Raises:
            OSError: It cannot be written.
            RuntimeError: It cannot be written, as torch says it.
        """
        self.folder.mkdir(exist_ok=True)
        partial = self._partial(case_id)
        try:
            torch.save(state, partial)
            partial.replace(self._file(case_id))
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def load(self, case_id: str) -> dict[str, Any] | None:
        """Read a case's checkpoint; None if it has none. May raise whatever a torn file makes torch raise."""
        file = self._file(case_id)
        return torch.load(file, weights_only=True) if file.exists() else None

    def remove(self, case_id: str) -> None:
        """Remove a case's checkpoint, and the folder with the last one."""
        self._partial(case_id).unlink(missing_ok=True)
        self._file(case_id).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()
