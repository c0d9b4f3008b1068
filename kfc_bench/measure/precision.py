"""The precision of float32 products, the same for every contestant."""

from __future__ import annotations

from typing import Literal, get_args

import torch

Precision = Literal["ieee", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def set_precision(precision: Precision) -> None:
    """Set cuDNN and matrix products alike; 16-bit operands meet ``ieee`` flags.

    Args:
        precision: ``"tf32"`` rounds float32 operands of products; the others do not.
    """
    flag = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = flag
    torch.backends.cudnn.conv.fp32_precision = flag  # type: ignore[attr-defined]


def operand_dtype(dtype: torch.dtype, precision: Precision) -> torch.dtype:
    """Return the dtype in which operands are handed over."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, dtype)
