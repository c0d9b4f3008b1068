"""The IDX format of MNIST and Fashion-MNIST: a magic number, sizes, bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfc_bench.errors import UserError
from kfc_bench.problems.files import Content
from kfc_bench.problems.raw import Raw, checked

_UNSIGNED_BYTES = 0x0800
"""The magic number is this plus the number of dimensions."""


def read_idx(contents: tuple[Content, ...], images: int) -> Raw:
    """Decode a pair of IDX files.

    Args:
        contents: Of the images ``[N, 28, 28]`` and of the labels ``[N]``, unpacked.
        images: N.

    Returns:
        Images ``[N, 1, 28, 28]`` and labels.

    Raises:
        UserError: A magic number, a size or a label is not what it should be.
    """
    pixels, labels = _array(contents[0], 3), _array(contents[1], 1)
    if pixels.shape != (images, 28, 28):
        raise UserError(f"{contents[0].where}: holds {list(pixels.shape)}; {[images, 28, 28]} is needed")
    return checked(contents[1].where, pixels[:, None], labels, (images, 1, 28, 28))


def _array(content: Content, dimensions: int) -> NDArray[Any]:
    data, wanted = content.data, _UNSIGNED_BYTES + dimensions
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise UserError(f"{content.where}: ends within its header, after {len(data)} bytes; get it again")
    magic, *shape = (int(number) for number in np.frombuffer(data[:start], ">u4"))
    if magic != wanted:
        raise UserError(f"{content.where}: begins with magic number {magic:#010x}; {wanted:#010x} is needed")
    if len(data) - start != np.prod(shape, dtype=object):
        raise UserError(
            f"{content.where}: holds {len(data) - start} bytes after its header, which says {'x'.join(map(str, shape))}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
