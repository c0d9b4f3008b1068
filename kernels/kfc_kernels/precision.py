"""How float32 matrices are multiplied, set for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRODUCTS = {
    "ieee": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
"""Operands and how they are multiplied, by the name that tables give it."""


@contextmanager
def multiplying(products: str) -> Iterator[torch.dtype]:
    """Set how float32 matrices are multiplied for a while, and give the dtype of the operands.

    Args:
        products: A key of `PRODUCTS`.

    Yields:
        The dtype.
    """
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32" if products == "tf32" else "ieee"
    try:
        yield PRODUCTS[products]
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
