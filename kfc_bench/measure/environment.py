"""Where a number was measured: hardware, drivers, versions, code."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

import kfc_bench
import kfc_kernels
from kfc_bench.errors import UserError

PACKAGES = ("kfc-bench", "torch", "triton", "numpy", "scipy", "pandas", "pyarrow", "pytest-benchmark", "nvidia-ml-py")
PEERS = ("asdfghjkl", "backpack-for-pytorch", "curvlinops-for-pytorch", "kronfluence", "nngeometry")
"""What contestants run, as pip calls it."""


def resolve_device(device: str) -> str:
    """Turn ``"auto"`` into the device to use, and refuse one that isn't there.

    Args:
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Returns:
        ``"cpu"`` or ``"cuda"``.

    Raises:
        UserError: The device is unknown or absent.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError(f"device {device!r} is not one of auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': torch sees no CUDA device here; use --device cpu, or --device auto")
    return device


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    folder = Path(kfc_bench.__file__).parent
    answer = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


@cache
def code_hash() -> str:
    """Hash the sources of both packages: what a commit and its uncommitted changes would say, without its documents."""
    digest = hashlib.sha256()
    for package in (kfc_bench, kfc_kernels):
        root = Path(package.__file__ or "").parent
        for file in sorted(root.rglob("*.py")):
            if "share" not in file.relative_to(root).parts:
                digest.update(f"{root.name}/{file.relative_to(root)}\n".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _gpu() -> dict[str, Any]:
    import pynvml

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
        return {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory,
            "l2_bytes": properties.L2_cache_size,
            "multiprocessors": properties.multi_processor_count,
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "power_limit_w": pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1e3,
        }
    finally:
        pynvml.nvmlShutdown()


def environment(device: str) -> dict[str, Any]:
    """Describe this machine, this installation and this code.

    Args:
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        Plain values that JSON can hold; `kfc_bench.results.fingerprint` picks what a case's validity depends on.
    """
    gpu = _gpu() if device == "cuda" else None
    cpu = _cpu_name()
    return {
        "device": gpu["name"] if gpu else f"{cpu}, {torch.get_num_threads()} threads",
        "device_kind": device,
        "driver": gpu["driver"] if gpu else None,
        "torch": torch.__version__,
        "triton": _version("triton"),
        "code": code_hash(),
        "commit": _commit(),
        "cuda": torch.version.cuda,
        "gpu": gpu,
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "peers": {peer: version for peer in PEERS if (version := _version(peer)) is not None},
        "packages": {package: _version(package) for package in PACKAGES},
    }
