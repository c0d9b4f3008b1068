"""Sizes of the tiles that Triton kernels compute and of memory that they share, for launches and cost models alike."""

from __future__ import annotations

LOAD_BYTES = 16
"""The widest load of one thread."""

SMALLEST_TILE = 16
"""Side of the smallest operand of a product."""

SYMMETRIC_SIDE = 64
"""Largest tile of a symmetric product: mirroring a larger one spills."""

GRADIENT_ROWS, GRADIENT_COLUMNS = 64, 128
"""Largest tile of a gradient: output channels by patch elements."""

NARROW_SIDE = 32
"""Largest tile of a gradient where exact products and index arithmetic without wide loads share the registers."""

FILTER_SIDE = 64
"""Most kernel elements of a tile of sums of patches."""

PRODUCT_SIDE = 64
"""Tile of a layer's preconditioned gradient."""

CHUNK_BYTES = 2**25
"""Bytes of per-example gradients that are held at once: what a large GPU's cache holds."""


def tile(size: int, *, largest: int) -> int:
    """Return the power of two that covers ``size``, between the smallest operand of a product and ``largest``."""
    return min(max(1 << (size - 1).bit_length(), SMALLEST_TILE), largest)


def mini_block_outputs(kernel_elements: int) -> int:
    """Return how many outputs' mini-blocks a tile has at most: half as many of a kernel with two gradient tiles."""
    return 32 if kernel_elements <= SMALLEST_TILE else 16
