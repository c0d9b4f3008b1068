"""Tables that tell one launch over tensors of unlike sizes which of them each of its programs works on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kfc_kernels.tiles import LOAD_BYTES


def check_alike(tensors: Sequence[Tensor]) -> None:
    """Refuse what a kernel that is given bare addresses would misread.

    Args:
        tensors: All that it is given.

    Raises:
        ValueError: Their dtypes or devices are not all the same.
    """
    kinds = {(tensor.dtype, tensor.device) for tensor in tensors}
    if len(kinds) > 1:
        listed = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise ValueError(f"all matrices must have one dtype and device, not {listed}")


def with_rows(matrix: Tensor) -> Tensor:
    """Return ``matrix``, copied where its rows are not contiguous."""
    return matrix if matrix.stride(-1) == 1 else matrix.contiguous()


def addresses(matrix: Tensor) -> list[int]:
    """Return the address of each group's matrix, of ``[n, m]`` or ``[groups, n, m]``."""
    if matrix.ndim == 2:
        return [matrix.data_ptr()]
    return [matrix.data_ptr() + group * matrix.stride(0) * matrix.element_size() for group in range(len(matrix))]


def shared_out(entries: Tensor, programs: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Hand the programs of a launch out to a table's entries.

    Args:
        entries: What a kernel needs to know of each, int64, ``[..., entries, fields]``.
        programs: How many programs work on each, ``[entries]``.
        device: Where the kernel runs.

    Returns:
        The entries with a last field, the first program of each; and the entry of each program, ``[programs]``.
    """
    first = (programs.cumsum(0) - programs).expand(entries.shape[:-1])
    table = torch.cat([entries, first.unsqueeze(-1)], -1)
    owners = torch.arange(len(programs)).repeat_interleave(programs)
    packed = torch.cat([table.flatten(), owners])
    if device.type == "cuda":
        # One copy, which the host need not wait for.
        packed = packed.pin_memory().to(device, non_blocking=True)
    return packed[: table.numel()].view(table.shape), packed[table.numel() :]


def aligned(pointers: Tensor, steps: Tensor, itemsize: int) -> bool:
    """Return whether all rows begin at multiples of the widest load of a thread.

    Args:
        pointers: Addresses, int64.
        steps: Elements from one row to the next.
        itemsize: Bytes of an element.
    """
    return bool((pointers % LOAD_BYTES == 0).all() and (steps * itemsize % LOAD_BYTES == 0).all())
