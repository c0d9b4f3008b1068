"""How an operator's result reaches its caller: fresh, overwritten, or as a running average."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of sums over ``dtype`` operands: float32 for 16-bit ones, else the same."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def check_running_average(out: Tensor | None, decay: float | None) -> None:
    """Refuse a decay that has nothing to decay, or is none.

    Raises:
        ValueError: ``decay`` comes without ``out`` or is not in [0, 1].
    """
    if decay is None:
        return
    if out is None:
        raise ValueError(f"decay {decay} needs out, the running average that it decays")
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must lie in [0, 1], not {decay}")


def store(new: Tensor, out: Tensor | None, decay: float | None) -> Tensor:
    """Put a result where the caller wants it.

    Args:
        new: The result.
        out: None for ``new`` itself, else a tensor of its shape to write.
        decay: None to overwrite ``out``; e for ``out <- e*out + (1-e)*new``.

    Returns:
        ``new`` or ``out``.

    Raises:
        ValueError: ``out`` has another shape, or as `check_running_average`.
    """
    check_running_average(out, decay)
    if out is None:
        return new
    if out.shape != new.shape:
        raise ValueError(f"out has shape {list(out.shape)}, the result {list(new.shape)}")
    if not decay:
        return out.copy_(new.detach())
    return out.mul_(decay).add_(new.detach(), alpha=1 - decay)


def accumulate(
    write: Callable[[Tensor, float], None],
    shape: tuple[int, ...],
    device: torch.device,
    out: Tensor | None,
    decay: float | None,
) -> Tensor:
    """Have a kernel write its float32 result where the caller wants it, by way of a fresh tensor where it cannot.

    Args:
        write: Computes ``target <- kept * target + (1 - kept) * new`` for a contiguous target and a number kept; reads
            the target only if that is not 0.
        shape: Shape of the result.
        device: Where it lies.
        out: As in `store`.
        decay: As in `store`.

    Returns:
        ``out``, or a fresh tensor if it is None.

    Raises:
        ValueError: As `store`.
    """
    wanted = shape, torch.float32, device
    if out is not None and out.is_contiguous() and (out.shape, out.dtype, out.device) == wanted:
        write(out, decay or 0.0)
        return out
    fresh = torch.empty(shape, dtype=torch.float32, device=device)
    write(fresh, 0.0)
    return store(fresh, out, decay)
