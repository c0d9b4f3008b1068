"""The code itself, as a hash; it needs no torch."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

PACKAGES = ("kfc_bench", "kfc_kernels")


@cache
def code_hash() -> str:
    """Hash the sources of both packages: what a commit and its uncommitted changes would say, without its documents."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        root = Path(spec.origin if spec and spec.origin else "").parent
        for file in sorted(root.rglob("*.py")):
            if "share" not in file.relative_to(root).parts:
                digest.update(f"{root.name}/{file.relative_to(root)}\n".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
