"""Writing a file whole or not at all, or line by line."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kfc_bench.errors import UserError


def write_text(text: str, path: Path) -> None:
    """Write beside the target and move over it, so that a full disk leaves the old file whole.

    Args:
        text: What the file is to hold.
        path: The file; its folder is made if absent.

    Raises:
        UserError: It cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=path.suffix, delete=False, newline="") as file:
            temporary = Path(file.name)
            file.write(text)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: {error.strerror}; name another folder with --out") from error


def append_text(text: str, path: Path) -> None:
    """Write at a file's end.

    Args:
        text: What is added.
        path: The file.

    Raises:
        UserError: It cannot be written; what was written before stays.
    """
    try:
        with path.open("a", newline="") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; what was written before is kept") from error
