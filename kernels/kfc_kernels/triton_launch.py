"""What every Triton launch decides on the host: tiles, precision of products, how many programs fill the device."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
import triton
from torch import Tensor

from kfc_kernels.dispatch import UnsupportedError
from kfc_kernels.geometry import ConvGeometry

# Steps of a sum below which splitting it further costs more than it gains.
STEPS_PER_SPLIT = 4

# Programs along a grid's second and third axis, at most.
LARGEST_GRID = 2**16 - 1

# Without a GPU (the interpreter), a few processors, so that sums are split there too.
INTERPRETED_PROCESSORS = 4

Ahead = list[tuple[Any, dict[str, str], dict[str, Any]]]
"""A call's launches for `kfc_kernels.compile_ahead`: kernel, types of its arguments, constants and options."""

POINTERS = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}


def exact(dtype: torch.dtype) -> bool:
    """Return whether products of ``dtype`` are exact float32 ones, which no matrix instruction computes."""
    return dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision != "tf32"


def product_options(rows: int, columns: int, dtype: torch.dtype) -> dict[str, Any]:
    """Choose how a program computes products into a tile of sums, without spilling registers.

    Args:
        rows: Rows of the tile.
        columns: Its columns.
        dtype: Element type of the operands.

    Returns:
        The precision of products, by torch's own switch for float32 matrix products, and the options of the launch.
    """
    # Without matrix instructions each thread holds its operands, besides its sums, in registers.
    largest = 32 * 32 if exact(dtype) else 64 * 64
    return {
        "PRECISION": "tf32" if dtype == torch.float32 and not exact(dtype) else "ieee",
        "num_warps": 8 if rows * columns > largest else 4,
        "num_stages": 3,
        "enable_fp_fusion": True,
    }


def splits(tiles: int, steps: int, device: torch.device) -> int:
    """Choose over how many programs each output tile's sum is split.

    Args:
        tiles: Output tiles; enough of them fill the device unsplit.
        steps: Steps of one tile's sum, the most that it can be split into.
        device: Where the kernel runs.

    Returns:
        A number from 1 to ``steps`` that gives each processor about two programs.
    """
    if device.type == "cuda":
        processors = torch.cuda.get_device_properties(device).multi_processor_count
    else:
        processors = INTERPRETED_PROCESSORS
    return min(triton.cdiv(2 * processors, tiles), steps)


def architecture(device: torch.device) -> str:
    """Name a device's architecture as `kfc_kernels.compile_ahead.TARGETS` does; Hopper where there is no GPU."""
    if device.type != "cuda":
        return "sm_90"
    if torch.version.hip is not None:
        return "gfx942"
    major, _ = torch.cuda.get_device_capability(device)
    return {9: "sm_90"}.get(major, "sm_100" if major > 9 else "sm_80")


def on_device_of(tensor: Tensor) -> AbstractContextManager[None]:
    """Return a context in which the tensor's GPU is the current one, where Triton launches; without a GPU, nothing."""
    return torch.cuda.device_of(tensor)


def check_indices(operator: str, **counts: int) -> None:
    """Refuse what the kernels' 32-bit indices cannot count.

    Args:
        operator: The operator, for the message.
        **counts: What is indexed, by name, and how many there are.

    Raises:
        UnsupportedError: One of them does not fit.
    """
    for name, count in counts.items():
        if count >= 2**31:
            words = name.replace("_", " ")
            raise UnsupportedError(f"{operator}: {count} {words} are more than 32-bit indices can count")


def meta_input(geometry: ConvGeometry, dtype: torch.dtype) -> Tensor:
    """Return a contiguous input ``[1, C, *in]`` without data: what a launch is described from without a GPU."""
    return torch.empty(1, geometry.in_channels, *geometry.in_size, dtype=dtype, device="meta")


def alike(a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return two operands of one dtype: unlike ones meet in float32."""
    return (a, g) if a.dtype == g.dtype else (a.float(), g.float())


def summed(partial: Tensor) -> Tensor:
    """Add what splits left, ``[splits, ...]``, in their order."""
    return partial.sum(0) if len(partial) > 1 else partial[0]
