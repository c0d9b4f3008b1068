"""The gradients of a few examples at a time, for operators that never hold those of a whole batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from kfc_kernels.dispatch import Case
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import crop, extract_columns, extract_patches, with_even_padding
from kfc_kernels.results import accumulation_dtype

# Bytes of gradients, and of the patches that they are made of, that are held together.
CHUNK_BYTES = 2**23

# Bytes of a whole batch's gradients up to which they are formed at once, where they are products with the input itself.
BATCH_BYTES = 2**20

# Output positions up to which products of all their pairs are faster than gradients.
POSITIONS_OF_A_PRODUCT = 4

# Input channels of a group from which on, and output channels up to which, a convolution's own weight gradient is
# faster than a product with patches.
INPUTS_OF_A_CONVOLUTION = 8
OUTPUTS_OF_A_CONVOLUTION = 200

# Kernel elements and output positions from which on it is so of fewer input channels too, one example at a time.
ELEMENTS_OF_A_CONVOLUTION = 49
POSITIONS_OF_A_CONVOLUTION = 2048


def declines_small_batches(case: Case) -> str | None:
    """Decline where chunks save nothing: the patches are the input itself, and all gradients stay in the cache."""
    geometry = case.geometry
    if geometry is None or geometry.kernel_elements > 1 or 1 in (case.batch, geometry.positions):
        return None
    held = case.batch * geometry.parameters * accumulation_dtype(case.dtype).itemsize
    return (
        f"takes gradients of more than {BATCH_BYTES} bytes for 1x1 layers, not {held}" if held <= BATCH_BYTES else None
    )


def declines_many_positions(case: Case) -> str | None:
    """Decline where there are so many pairs of output positions that gradients are faster than their products."""
    if case.geometry is None or case.geometry.positions <= POSITIONS_OF_A_PRODUCT:
        return None
    return f"takes at most {POSITIONS_OF_A_PRODUCT} output positions, not {case.geometry.positions}"


def convolves_alone(geometry: ConvGeometry) -> bool:
    """Tell whether a convolution is best of one example, as of an image's few channels under a large kernel."""
    return (
        geometry.groups == 1
        and geometry.in_channels < INPUTS_OF_A_CONVOLUTION
        and geometry.kernel_elements >= ELEMENTS_OF_A_CONVOLUTION
        and geometry.positions >= POSITIONS_OF_A_CONVOLUTION
    )


def is_depthwise(geometry: ConvGeometry) -> bool:
    """Tell whether each channel is a group of its own, in and out."""
    return geometry.groups == geometry.in_channels == geometry.out_channels


def convolves(geometry: ConvGeometry, device: torch.device) -> bool:
    """Tell whether gradients come from a convolution, or from products with patches."""
    return (
        device.type == "cpu"
        and geometry.kernel_elements > 1
        and geometry.group_outputs <= OUTPUTS_OF_A_CONVOLUTION
        and (geometry.in_channels // geometry.groups >= INPUTS_OF_A_CONVOLUTION or convolves_alone(geometry))
    )


def example_chunks(
    a: Tensor, g: Tensor, geometry: ConvGeometry, elements: int, chunk_bytes: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut a batch into chunks of examples.

    Args:
        a: The layer's input, ``[N, C, *in]``.
        g: Backpropagated vectors, ``[V, N, K, *out]``.
        geometry: The layer.
        elements: How many elements are held for each example.
        chunk_bytes: How many bytes may be held at once, if more than one example's.

    Yields:
        A chunk's input, ``[n, C, *in]``, and its vectors, ``[V, n, groups, K/groups, |T|]``, both of the dtype of
        sums.
    """
    wide = accumulation_dtype(a.dtype)
    examples = max(1, chunk_bytes // (elements * wide.itemsize))
    if examples > torch.get_num_threads():
        # As many for each thread.
        examples -= examples % torch.get_num_threads()
    shape = geometry.groups, geometry.group_outputs, geometry.positions
    for inputs, vectors in zip(a.split(examples), g.split(examples, dim=1), strict=True):
        yield inputs.to(wide), vectors.to(wide).reshape(*vectors.shape[:2], *shape)


def position_chunks(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut the patches and vectors of a layer with few output positions into chunks of examples.

    Args:
        a: The layer's input, ``[N, C, *in]``.
        g: Backpropagated vectors, ``[V, N, K, *out]``.
        geometry: The layer.

    Yields:
        A chunk's patches, ``[groups, n, |T|, D]``, and its vectors, ``[V, groups, n, |T|, K/groups]``.
    """
    rows = geometry.groups * geometry.positions**2
    elements = rows * (geometry.patch_dim + g.shape[0] * geometry.group_outputs)
    for inputs, vectors in example_chunks(a, g, geometry, elements, CHUNK_BYTES):
        yield extract_patches(inputs, geometry), vectors.permute(0, 2, 1, 4, 3)


def by_convolution(a: Tensor, vectors: Tensor, geometry: ConvGeometry) -> Iterator[Tensor]:
    """Form each vector's gradients as the weight gradient of one convolution, each example a group of its own.

    Args:
        a: ``[n, C, *in]``.
        vectors: ``[V, n, groups, K/groups, |T|]``.
        geometry: The layer.

    Yields:
        ``[n, groups, K/groups, D]`` without the bias's.
    """
    a, even = with_even_padding(a, geometry)
    examples = a.shape[0]
    weight = (examples * even.out_channels, even.in_channels // even.groups, *even.kernel)
    stride, padding, dilation = list(even.stride), [before for before, _ in even.padding], list(even.dilation)
    for vector in vectors:
        _, gradients, _ = torch.ops.aten.convolution_backward(
            vector.reshape(1, -1, *even.out_size),
            a.reshape(1, -1, *even.in_size),
            a.new_empty(1).expand(weight),
            None,
            stride,
            padding,
            dilation,
            False,
            [0] * even.axes,
            examples * even.groups,
            [False, True, False],
        )
        yield gradients.reshape(*vector.shape[:3], -1)


def by_correlation(a: Tensor, vectors: Tensor, geometry: ConvGeometry) -> Iterator[Tensor]:
    """Form a depthwise layer's gradients: one convolution of input and vectors, strides and dilation swapped.

    Args:
        a: ``[n, C, *in]``.
        vectors: ``[V, n, C, 1, |T|]``.
        geometry: The layer.

    Yields:
        ``[n, C, 1, D]`` without the bias's.
    """
    a, even = with_even_padding(a, geometry)
    for vector in vectors:
        gradients = torch.convolution(
            a.reshape(1, -1, *even.in_size),
            vector.reshape(-1, 1, *even.out_size),
            None,
            list(even.dilation),
            [before for before, _ in even.padding],
            list(even.stride),
            transposed=False,
            output_padding=[0] * even.axes,
            groups=a.shape[0] * even.groups,
        )
        yield crop(gradients, 2, [slice(0, size) for size in even.kernel]).reshape(*vector.shape[:3], -1)


def by_columns(a: Tensor, vectors: Tensor, geometry: ConvGeometry) -> Iterator[Tensor]:
    """Form each vector's gradients as products with patches.

    Args:
        a: ``[n, C, *in]``.
        vectors: ``[V, n, groups, K/groups, |T|]``.
        geometry: The layer.

    Yields:
        ``[n, groups, K/groups, D]`` without the bias's.
    """
    columns = extract_columns(a, geometry)
    for vector in vectors:
        yield vector @ columns.mT


def weight_gradients(a: Tensor, g: Tensor, geometry: ConvGeometry, chunk_bytes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Form the gradients of each vector and example, chunk by chunk.

    Args:
        a: The layer's input, ``[N, C, *in]``.
        g: Backpropagated vectors, ``[V, N, K, *out]``.
        geometry: The layer.
        chunk_bytes: How many bytes may be held at once, if more than one example's.

    Yields:
        The weight's, ``[n, groups, K/groups, D]`` without the homogeneous coordinate, and the vectors that they are
        of, ``[n, groups, K/groups, |T|]``, whose sum over positions is the bias's.
    """
    form, copies = by_columns, 0
    if geometry.kernel_elements > 1 and is_depthwise(geometry):
        # Convolutions with so large kernels lay maps out anew.
        form, copies = by_correlation, geometry.in_channels * (math.prod(geometry.in_size) + geometry.positions)
    elif convolves(geometry, a.device):
        form = by_convolution
        chunk_bytes = 0 if convolves_alone(geometry) else chunk_bytes
    elif geometry.kernel_elements > 1:
        copies = geometry.groups * geometry.patch_dim * geometry.positions
    for inputs, vectors in example_chunks(a, g, geometry, geometry.parameters + copies, chunk_bytes):
        yield from zip(form(inputs, vectors, geometry), vectors, strict=True)


def layer_gradients(a: Tensor, g: Tensor, geometry: ConvGeometry) -> Iterator[Tensor]:
    """Form the gradients of each vector and example, chunk by chunk, the bias's last.

    Args:
        a: The layer's input, ``[N, C, *in]``.
        g: Backpropagated vectors, ``[V, N, K, *out]``.
        geometry: The layer.

    Yields:
        ``[n, groups, K/groups, D]``.
    """
    for weights, vectors in weight_gradients(a, g, geometry, CHUNK_BYTES):
        yield torch.cat([weights, vectors.sum(-1, keepdim=True)], dim=-1) if geometry.bias else weights
