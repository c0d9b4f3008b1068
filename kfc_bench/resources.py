"""Where the files that are not code lie: in a checkout at its top, in an installed wheel inside the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def share(folder: str) -> Path:
    """Return ``suites``, ``dashboard`` or ``results``, of the checkout if this is one, else of the wheel.

    Args:
        folder: Which of them.

    Returns:
        Its path.
    """
    packaged = _PACKAGE / "share" / folder
    return packaged if packaged.is_dir() else _PACKAGE.parent / folder
