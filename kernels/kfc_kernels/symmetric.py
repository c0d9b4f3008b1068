"""Sums of products that are symmetric, at little over half the work where they are large."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from torch import Tensor

# Rows of the factors, and multiply-adds of a product, from which on half of a sum is worth mirroring.
ROWS_OF_A_HALF = 256
WORK_OF_A_HALF = 2**25

# Rows of a sum that are multiplied at once, at least, and into how many blocks larger sums are cut.
LEAST_BLOCK = 128
BLOCKS = 4


def blocks_of(rows: int, columns: int) -> list[slice]:
    """Cut the rows of a sum into blocks whose products end at the diagonal; one block where half does not pay.

    Args:
        rows: Rows of the factors, over which their products sum.
        columns: Columns of the factors, the rows of the sum.

    Returns:
        The blocks, in order.
    """
    pays = rows >= ROWS_OF_A_HALF and rows * columns**2 >= WORK_OF_A_HALF
    size = max(LEAST_BLOCK, math.ceil(columns / BLOCKS)) if pays else columns
    return [slice(start, min(start + size, columns)) for start in range(0, columns, size)]


def symmetric_sum(pairs: Iterable[tuple[Tensor, Tensor]], scale: float) -> Tensor:
    """Sum the products ``left.mT @ right`` of at least one pair, each of which is symmetric, or all of them together.

    Args:
        pairs: Both sides of each product, ``[groups, n, P]``.
        scale: A factor of the sum.

    Returns:
        ``[groups, P, P]``.

    Raises:
        ValueError: There is no pair.
    """
    total, blocks = None, []
    for left, right in pairs:
        keep = total is not None
        if total is None:
            groups, _, columns = left.shape
            total, blocks = left.new_empty(groups, columns, columns), blocks_of(*left.shape[1:])
        if len(blocks) == 1:
            total.baddbmm_(left.mT, right, beta=int(keep), alpha=scale)
            continue
        for group, block in itertools.product(range(len(total)), blocks):
            rows = total[group, block, : block.stop]
            rows.addmm_(left[group, :, block].mT, right[group, :, : block.stop], beta=int(keep), alpha=scale)
    if total is None:
        raise ValueError("a sum of no products has no size")
    for block in blocks[1:]:
        total[:, : block.start, block] = total[:, block, : block.start].mT
    return total


def gram(rows: Tensor, scale: float) -> Tensor:
    """Multiply a matrix with its own transpose.

    Args:
        rows: ``[groups, n, P]``.
        scale: A factor of the product.

    Returns:
        ``scale * rows.mT @ rows``, ``[groups, P, P]``.
    """
    return symmetric_sum([(rows, rows)], scale)
