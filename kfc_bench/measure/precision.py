"""The precision of float32 products, the same for every contestant."""

from __future__ import annotations

from typing import Literal, get_args

import torch

Precision = Literal["ieee", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def float32_products(precision: Precision) -> Literal["ieee", "tf32"]:
    """Return the flag that cuDNN's convolutions and matrix products get; 16-bit operands meet ``"ieee"``.

    Args:
        precision: ``"tf32"`` rounds float32 operands of products; the others do not.
    """
    return "tf32" if precision == "tf32" else "ieee"


def set_precision(precision: Precision) -> None:
    """Set cuDNN and matrix products alike, to `float32_products`."""
    flag = float32_products(precision)
    torch.backends.cuda.matmul.fp32_precision = flag
    torch.backends.cudnn.conv.fp32_precision = flag  # type: ignore[attr-defined]


def precision_in_force() -> str:
    """Return the flags as they stand: of matrix products, and of cuDNN's convolutions if those differ."""
    product = str(torch.backends.cuda.matmul.fp32_precision)
    convolution = str(torch.backends.cudnn.conv.fp32_precision)  # type: ignore[attr-defined]
    return product if product == convolution else f"{product}, convolutions {convolution}"


TF32_EPS = 2.0**-10
"""Machine epsilon of TF32, whose mantissa has 10 bits."""


def operand_rounding(dtype: torch.dtype, precision: Precision, device: str) -> float:
    """Return the relative rounding of a product's factors beyond that of ``dtype``.

    Args:
        dtype: Of parameters and sums.
        precision: As in the suite file.
        device: On a CPU, ``tf32`` rounds nothing.

    Returns:
        The machine epsilon of what factors are rounded to; 0 if they are not.
    """
    if precision == "tf32":
        return TF32_EPS if device == "cuda" and dtype == torch.float32 else 0.0
    rounded = operand_dtype(dtype, precision)
    return 0.0 if rounded == dtype else torch.finfo(rounded).eps


def operand_dtype(dtype: torch.dtype, precision: Precision) -> torch.dtype:
    """Return the dtype in which operands are handed over."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, dtype)
