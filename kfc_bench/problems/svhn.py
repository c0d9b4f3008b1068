"""SVHN's cropped digits (format 2): MATLAB files with images X and labels y."""

from __future__ import annotations

import io

import scipy.io

from kfc_bench.errors import UserError
from kfc_bench.problems.files import Content
from kfc_bench.problems.raw import CLASSES, Raw, checked


def read_mat(contents: tuple[Content, ...], images: int) -> Raw:
    """Decode one part of the data set.

    Args:
        contents: Of one file: X ``[32, 32, 3, N]`` and y ``[N, 1]``, where label 10 means the digit 0.
        images: N.

    Returns:
        Images ``[N, 3, 32, 32]`` and labels.

    Raises:
        UserError: It is no such file, or a label lies outside 1..10.
    """
    (content,) = contents
    try:
        found = scipy.io.loadmat(io.BytesIO(content.data), variable_names=("X", "y"))
    except Exception as error:  # Damaged files end in nearly any exception.
        raise UserError(f"{content.where}: not a whole MATLAB file ({type(error).__name__}); get it again") from None
    if not {"X", "y"} <= found.keys():
        raise UserError(f"{content.where}: a MATLAB file without X and y, so not SVHN's cropped digits (format 2)")
    pixels, labels = found["X"], found["y"]
    if pixels.shape != (32, 32, 3, images) or labels.shape != (images, 1) or labels.dtype.kind not in "iu":
        raise UserError(
            f"{content.where}: X is {list(pixels.shape)} and y {list(labels.shape)} of {labels.dtype}; "
            f"{[32, 32, 3, images]} and {[images, 1]} of integers are needed"
        )
    if labels.min() < 1 or labels.max() > CLASSES:
        raise UserError(
            f"{content.where}: y goes from {labels.min()} to {labels.max()}; labels are 1..10, 10 the digit 0"
        )
    return checked(content.where, pixels.transpose(3, 2, 0, 1), labels[:, 0] % CLASSES, (images, 3, 32, 32))
