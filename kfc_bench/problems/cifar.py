"""The two published forms of CIFAR-10's batches: pickles of Python, and plain records."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from kfc_bench.errors import UserError
from kfc_bench.problems.files import Content
from kfc_bench.problems.raw import Raw, checked

_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS
"""Bytes of a record: the label, then a plane each of red, green and blue."""


def _encoded(text: str, encoding: str) -> bytes:
    """Do what pickles of bytes at protocol 2 ask of ``_codecs.encode``; ``str.encode`` knows encodings of text only."""
    return text.encode(encoding)


_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # Its older and its newer home.
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("_codecs", "encode"): _encoded,
}


class _Forbidden(Exception):
    """A pickle asks for more than arrays and plain types."""


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _Forbidden(f"{module}.{name}")
        return _ALLOWED[module, name]


def read_pickled(contents: tuple[Content, ...], images: int) -> Raw:
    """Decode a batch of the Python version, letting the pickle make arrays and plain types only.

    Args:
        contents: Of one batch.
        images: How many it holds.

    Returns:
        Images ``[N, 3, 32, 32]`` and labels.

    Raises:
        UserError: It is no such pickle, or asks for code.
    """
    (content,) = contents
    try:
        batch = _ArraysOnly(io.BytesIO(content.data), encoding="bytes").load()
    except _Forbidden as asked:
        raise UserError(
            f"{content.where}: the pickle asks for {asked}, which no batch of images needs; it was not loaded"
        ) from None
    except Exception as error:  # Bytes that are no pickle end in nearly any exception.
        raise UserError(f"{content.where}: not a whole pickle ({type(error).__name__}); get it again") from None
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= batch.keys():
        raise UserError(f"{content.where}: a pickle without 'data' and 'labels', so no batch of CIFAR-10")
    pixels, labels = batch[b"data"], batch[b"labels"]
    if not isinstance(pixels, np.ndarray) or pixels.shape != (images, _PIXELS):
        found = list(pixels.shape) if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise UserError(f"{content.where}: its data is {found}; {[images, _PIXELS]} is needed")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise UserError(f"{content.where}: its labels are no list of integers")
    return checked(content.where, pixels.reshape(-1, 3, 32, 32), np.array(labels), (images, 3, 32, 32))


def read_records(contents: tuple[Content, ...], images: int) -> Raw:
    """Decode a batch of the binary version.

    Args:
        contents: Of one batch.
        images: How many it holds.

    Returns:
        Images ``[N, 3, 32, 32]`` and labels.

    Raises:
        UserError: Its length is not that of so many records, or a label lies outside 0..9.
    """
    (content,) = contents
    if len(content.data) != images * _RECORD:
        raise UserError(
            f"{content.where}: holds {len(content.data)} bytes; {images} records of {_RECORD} bytes are needed"
        )
    records = np.frombuffer(content.data, np.uint8).reshape(images, _RECORD)
    return checked(content.where, records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0], (images, 3, 32, 32))
