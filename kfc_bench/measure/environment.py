"""Where a number was measured: hardware, drivers, versions, code."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pynvml
import torch

import kfc_bench
from kfc_bench.errors import UserError
from kfc_bench.measure.datasheet import datasheet
from kfc_bench.measure.precision import PRECISIONS, float32_products, precision_in_force
from kfc_bench.measure.sources import PEERS, code_hash, cpu_name, version
from kfc_bench.measure.telemetry import ask, nvml_handle

PACKAGES = ("kfc-bench", "torch", "triton", "numpy", "scipy", "pandas", "pyarrow", "pytest-benchmark", "nvidia-ml-py")
VARIABLES = re.compile(
    r"(OMP|MKL|OPENBLAS|KMP|GOMP|NUMEXPR|TRITON|CUBLAS|CUDNN)_"
    r"|NVIDIA_TF32_OVERRIDE$|CUDA_(VISIBLE_DEVICES|LAUNCH_BLOCKING|MODULE_LOADING|DEVICE_MAX_CONNECTIONS)$"
    r"|PYTORCH_(CUDA_)?ALLOC_CONF$|TORCH_ALLOW_TF32"
)
"""Environment variables that can change a time or a result; those that hold a path are left out."""


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


def _git(*arguments: str) -> str | None:
    """Ask git about the folder of this package; None without git, or if it fails."""
    command = ["git", "-C", str(Path(kfc_bench.__file__).parent), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _checkout() -> dict[str, Any]:
    """Describe the checkout and its sources; an installation that merely lies inside somebody's repository is none."""
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None, "dirty": None}
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", ":/kfc_bench", ":/kernels")),
    }


def _cpu_caches() -> dict[str, str]:
    """List the first core's caches, such as ``{"L1 Data": "32K"}``; empty where Linux doesn't tell."""
    caches = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        caches[f"L{level} {kind}"] = size
    return caches


def _gpu() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    handle = nvml_handle()
    limit = None if handle is None else ask(pynvml.nvmlDeviceGetPowerManagementLimit, handle)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "l2_bytes": properties.L2_cache_size,
        "multiprocessors": properties.multi_processor_count,
        "driver": None if handle is None else ask(pynvml.nvmlSystemGetDriverVersion),
        "power_limit_w": None if limit is None else limit / 1e3,
    }


def _variables() -> dict[str, str]:
    named = {name: value for name, value in sorted(os.environ.items()) if VARIABLES.match(name)}
    return {name: value for name, value in named.items() if os.sep not in value}


def _torch_flags() -> dict[str, Any]:
    """Return what decides which algorithms torch takes, as it stands; `set_precision` sets the rest for each case."""
    return {
        "float32_products": {precision: float32_products(precision) for precision in PRECISIONS},
        "float32_products_in_force": precision_in_force(),
        "bf16_reduced_precision_sums": bool(torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction),
        "fp16_reduced_precision_sums": bool(torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def _libraries() -> dict[str, Any]:
    """Return what torch was built with, as far as it decides a time."""
    build = dict(re.findall(r"\b(BLAS_INFO|LAPACK_INFO)=(\w+)", torch.__config__.show()))
    return {
        "blas": build.get("BLAS_INFO"),
        "lapack": build.get("LAPACK_INFO"),
        "mkldnn": torch.backends.mkldnn.is_available(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cudnn": torch.backends.cudnn.version(),
        "hip": torch.version.hip,
    }


def environment(device: str) -> dict[str, Any]:
    """Describe this machine, this installation and this code.

    Args:
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        Plain values that JSON can hold; `kfc_bench.results.fingerprint` picks what a case's validity depends on.
    """
    gpu = _gpu() if device == "cuda" else None
    sheet = datasheet(gpu["name"]) if gpu else None
    cpu = cpu_name()
    return {
        "device": gpu["name"] if gpu else f"{cpu}, {torch.get_num_threads()} threads",
        "device_kind": device,
        "driver": gpu["driver"] if gpu else None,
        "torch": torch.__version__,
        "triton": version("triton"),
        "code": code_hash(),
        **_checkout(),
        "cuda": torch.version.cuda,
        "gpu": gpu,
        "datasheet": sheet.described() if sheet else None,
        "cpu": cpu,
        "cpu_caches": _cpu_caches(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "peers": {peer: found for peer in PEERS if (found := version(peer)) is not None},
        "libraries": _libraries(),
        "torch_flags": _torch_flags(),
        "triton_flags": {"fp_fusion": os.environ.get(kfc_bench.FP_FUSION)},
        "variables": _variables(),
        "packages": {package: version(package) for package in PACKAGES},
    }
