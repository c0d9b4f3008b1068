"""The diagonal form for all layers in one launch, with momentum and the squared norm in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.precondition.tables import aligned, check_alike, shared_out
from kfc_kernels.triton_launch import Ahead, on_device_of

# What the table holds of a layer: addresses of gradient, diagonal and result, its elements, its first program.
FIELDS = 5


@triton.jit(do_not_specialize=["damping", "momentum"])
def diagonal_step_kernel(
    layers: tl.tensor,
    owners: tl.tensor,
    squares: tl.tensor,
    damping: tl.tensor,
    momentum: tl.tensor,
    TYPE: tl.constexpr,
    FIELDS: tl.constexpr,
    MOMENTUM: tl.constexpr,
    NORM: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Compute one block of the layer that ``owners`` names; ``layers`` is ``[layers, FIELDS]``."""
    layer = layers + tl.load(owners + tl.program_id(0)) * FIELDS
    gradient = tl.load(layer).to(tl.pointer_type(TYPE))
    diagonal = tl.load(layer + 1).to(tl.pointer_type(TYPE))
    result = tl.load(layer + 2).to(tl.pointer_type(TYPE))
    if ALIGNED:
        gradient = tl.multiple_of(gradient, 16)
        diagonal = tl.multiple_of(diagonal, 16)
        result = tl.multiple_of(result, 16)
    elements = (tl.program_id(0) - tl.load(layer + 4)) * BLOCK + tl.arange(0, BLOCK)
    inside = elements < tl.load(layer + 3)
    numerator = tl.load(gradient + elements, mask=inside, other=0.0).to(tl.float32)
    denominator = tl.load(diagonal + elements, mask=inside, other=1.0).to(tl.float32) + damping
    direction = numerator / denominator
    if NORM:
        tl.store(squares + tl.program_id(0), tl.sum(direction * direction))
    if MOMENTUM:
        direction += momentum * tl.load(result + elements, mask=inside, other=0.0).to(tl.float32)
    tl.store(result + elements, direction.to(TYPE), mask=inside)


def configuration(dtype: torch.dtype, *, momentum: bool, norm: bool, aligned: bool) -> dict[str, Any]:
    """Choose the constants and options of the launch.

    Args:
        dtype: Element type of the tensors.
        momentum: Whether results are momentum buffers.
        norm: Whether the squared norm is wanted.
        aligned: As `kfc_kernels.precondition.tables.aligned` tells.

    Returns:
        Keyword arguments of the launch.
    """
    return {
        "TYPE": getattr(tl, str(dtype).removeprefix("torch.")),
        "FIELDS": FIELDS,
        "MOMENTUM": momentum,
        "NORM": norm,
        "ALIGNED": aligned,
        "BLOCK": 1024,
        "num_warps": 4,
        "num_stages": 1,
        "enable_fp_fusion": True,
    }


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launch with momentum and norm, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: A layer; all have the same launch.
        dtype: Element type of the tensors.
        target: The architecture; all have the same launches.

    Returns:
        The kernel, the types of its arguments, and its `configuration`, in a list of one.
    """
    types = {"layers": "*i64", "owners": "*i64", "squares": "*fp32", "damping": "fp32", "momentum": "fp32"}
    return [(diagonal_step_kernel, types, configuration(dtype, momentum=True, norm=True, aligned=True))]


def precondition_diagonal(
    gradients: Sequence[Tensor],
    diagonals: Sequence[Tensor],
    damping: float,
    *,
    momentum: float,
    buffers: Sequence[Tensor] | None,
    squared_norm: Tensor | None,
) -> list[Tensor]:
    """Divide as in `kfc_kernels.precondition.precondition_diagonal`.

    Args:
        gradients: As there.
        diagonals: Of the dtype and on the device of the gradients.
        damping: lambda + gamma.
        momentum: mu.
        buffers: Of the dtype and on the device of the gradients, or None.
        squared_norm: One number, or None.

    Returns:
        Natural gradients, or the buffers.

    Raises:
        ValueError: The dtypes or devices are not all the same.
    """
    check_alike([*gradients, *diagonals, *(buffers or ())])
    dtype, device = gradients[0].dtype, gradients[0].device
    numerators = [gradient.contiguous() for gradient in gradients]
    denominators = [diagonal.contiguous() for diagonal in diagonals]
    if buffers is None:
        results = [torch.empty(gradient.shape, dtype=dtype, device=device) for gradient in gradients]
    else:
        results = [buffer.contiguous() for buffer in buffers]
    counts = torch.tensor([gradient.numel() for gradient in gradients])
    pointers = [
        [tensor.data_ptr() for tensor in layer] for layer in zip(numerators, denominators, results, strict=True)
    ]
    places = torch.tensor(pointers)
    launch = configuration(
        dtype,
        momentum=buffers is not None,
        norm=squared_norm is not None,
        aligned=aligned(places, torch.zeros(1), dtype.itemsize),
    )
    entries = torch.cat([places, counts[:, None]], 1)
    layers, owners = shared_out(entries, -(-counts // launch["BLOCK"]), device)
    squares = torch.empty(len(owners), dtype=torch.float32, device=device)
    with on_device_of(layers):
        diagonal_step_kernel[(len(owners),)](layers, owners, squares, damping, momentum, **launch)
    if squared_norm is not None:
        squared_norm.copy_(squares.sum())
    if buffers is None:
        return results
    return [
        buffer if result is buffer else buffer.copy_(result) for buffer, result in zip(buffers, results, strict=True)
    ]
