"""Contestants: other people's ways to compute what our operators do, and the plain formulas.

Each file here holds one, or one package's, in a tuple ``CONTESTANTS``; it is found by being here. A file imports the
package that it is about only when a call is prepared, so that all can be listed where none is installed.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from kfc_bench.contestants.contestant import Contestant, Package


@cache
def contestants() -> dict[tuple[str, str], Contestant]:
    """Find every contestant.

    Returns:
        Contestants by operator and name, in the order of their files.

    Raises:
        ValueError: Two of one operator have the same name.
    """
    found: dict[tuple[str, str], Contestant] = {}
    for module in pkgutil.iter_modules(__path__):
        for entry in getattr(importlib.import_module(f"{__name__}.{module.name}"), "CONTESTANTS", ()):
            if entry.key in found:
                raise ValueError(f"{module.name}: {entry.operator} has another contestant {entry.name!r}")
            found[entry.key] = entry
    return found


__all__ = ["Contestant", "Package", "contestants"]
