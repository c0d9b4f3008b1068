"""What runs, told without importing it: the code as a hash, packages by version, the processor."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

SOURCES = ("kfc_bench", "kfc_kernels")

PEERS = ("asdfghjkl", "backpack-for-pytorch", "curvlinops-for-pytorch", "kronfluence", "nngeometry")
"""What contestants run, as pip calls it."""


def version(package: str) -> str | None:
    """Return a package's version; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@cache
def code_hash() -> str:
    """Hash the sources of both packages: what a commit and its uncommitted changes would say, without its documents."""
    digest = hashlib.sha256()
    for package in SOURCES:
        spec = importlib.util.find_spec(package)
        root = Path(spec.origin if spec and spec.origin else "").parent
        for file in sorted(root.rglob("*.py")):
            if "share" not in file.relative_to(root).parts:
                digest.update(f"{root.name}/{file.relative_to(root)}\n".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
