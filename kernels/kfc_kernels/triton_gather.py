"""Patches read straight from a layer's input in a Triton kernel: Eq. 25's expansion operator as index arithmetic.

Kernels count patch elements channel by channel within a kernel offset, so that neighbours lie side by side in a
channels-last input; `gathered_element` and `weight_element` lead from the order of ``weight.flatten(1)`` and to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import with_zeros_padding
from kfc_kernels.tiles import LOAD_BYTES


@dataclass(frozen=True)
class View:
    """A layer on exactly two spatial axes, and how its input lies in memory; a constant of the compiled kernel.

    Attributes:
        channels: Input channels of one group.
        height: Input rows.
        width: Input columns.
        out_height: Output rows.
        out_width: Output columns.
        kernel_height: Kernel rows.
        kernel_width: Kernel columns.
        stride_y: Rows from one window to the next.
        stride_x: Columns from one window to the next.
        dilation_y: Rows from one kernel element to the next.
        dilation_x: Columns from one kernel element to the next.
        above: Zero rows before the map.
        left: Zero columns before the map.
        padded: Whether a window may leave the map on any side.
        bias: Whether the homogeneous coordinate follows the weights.
        example_step: Elements from one example to the next.
        channel_step: Elements from one channel to the next.
        row_step: Elements from one row to the next.
        column_step: Elements from one column to the next.
    """

    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    dilation_y: int
    dilation_x: int
    above: int
    left: int
    padded: bool
    bias: bool
    example_step: int
    channel_step: int
    row_step: int
    column_step: int

    @property
    def positions(self) -> int:
        """Output positions of one example, |T|."""
        return self.out_height * self.out_width

    @property
    def kernel_elements(self) -> int:
        """Spatial offsets of the kernel."""
        return self.kernel_height * self.kernel_width

    @property
    def weights(self) -> int:
        """Patch elements that come from the input; with a bias, one more follows."""
        return self.channels * self.kernel_elements


def channels_inner(a: Tensor, geometry: ConvGeometry) -> Tensor:
    """Bring channels together in memory, if a group has enough of them to be loaded so.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer.

    Returns:
        ``a`` itself where that would gain nothing, else a copy in channels-last order.
    """
    if a.stride(1) == 1 or not _whole_loads(a, geometry):
        return a
    return a.movedim(1, -1).contiguous().movedim(-1, 1)


def gatherable(a: Tensor, geometry: ConvGeometry) -> tuple[Tensor, ConvGeometry]:
    """Prepare an input for gathering: `with_zeros_padding`, then `channels_inner`; a copy where either needs one.

    Args:
        a: ``[N, C, *in]``.
        geometry: The layer.

    Returns:
        An input and a geometry with the same patches.
    """
    a, geometry = with_zeros_padding(a, geometry)
    return channels_inner(a, geometry), geometry


def channels_together(a: Tensor, geometry: ConvGeometry) -> bool:
    """Return whether one load takes several channels of ``a``, ``[N, C, *in]``."""
    return a.stride(1) == 1 and _whole_loads(a, geometry)


def _whole_loads(a: Tensor, geometry: ConvGeometry) -> bool:
    return geometry.in_channels // geometry.groups % (LOAD_BYTES // a.element_size()) == 0


def on_two_axes(maps: Tensor, axes: int) -> Tensor:
    """View maps of up to two spatial axes with two, the missing ones of size 1 before the others.

    Args:
        maps: ``[..., *spatial]``.
        axes: Number of spatial axes.

    Returns:
        A view ``[..., height, width]``.
    """
    for _ in range(2 - axes):
        maps = maps.unsqueeze(maps.ndim - axes)
    return maps


def view(a: Tensor, geometry: ConvGeometry) -> View:
    """Describe a layer and its input to a kernel.

    Args:
        a: ``[N, C, *in]``, of any strides; only its layout is read.
        geometry: The layer, of at most two axes and with zeros padding.

    Returns:
        The description.
    """
    missing = 2 - geometry.axes
    flat = on_two_axes(a, geometry.axes)
    height, width = flat.shape[2:]
    out_height, out_width = (1,) * missing + geometry.out_size
    kernel_height, kernel_width = (1,) * missing + geometry.kernel
    stride_y, stride_x = (1,) * missing + geometry.stride
    dilation_y, dilation_x = (1,) * missing + geometry.dilation
    above, left = (0,) * missing + tuple(before for before, _ in geometry.padding)
    # Where an axis has one pixel, its step is never taken; 0 keeps it from spoiling what is known of alignment.
    example_step, channel_step, row_step, column_step = (
        0 if size == 1 else step for size, step in zip((0, *flat.shape[1:]), flat.stride(), strict=True)
    )
    return View(
        channels=geometry.in_channels // geometry.groups,
        height=height,
        width=width,
        out_height=out_height,
        out_width=out_width,
        kernel_height=kernel_height,
        kernel_width=kernel_width,
        stride_y=stride_y,
        stride_x=stride_x,
        dilation_y=dilation_y,
        dilation_x=dilation_x,
        above=above,
        left=left,
        padded=any(side > 0 for sides in geometry.padding for side in sides),
        bias=geometry.bias,
        example_step=example_step,
        channel_step=channel_step,
        row_step=row_step,
        column_step=column_step,
    )


@triton.jit
def weight_element(elements: tl.tensor, channels: int, kernel_elements: int) -> tl.tensor:
    """Return where gathered elements stand in ``weight.flatten(1)``; the homogeneous coordinate is last in both."""
    weight = elements % channels * kernel_elements + elements // channels
    return tl.where(elements < channels * kernel_elements, weight, elements)


@triton.jit
def gathered_element(elements: tl.tensor, channels: int, kernel_elements: int) -> tl.tensor:
    """Return where elements of ``weight.flatten(1)`` stand among gathered ones."""
    return weight_element(elements, kernel_elements, channels)


@triton.jit
def gather_patches(
    a: tl.tensor,
    group: tl.tensor,
    elements: tl.tensor,
    example: tl.tensor,
    position: tl.tensor,
    valid: tl.tensor,
    VIEW: tl.constexpr,
) -> tl.tensor:
    """Read a tile of one group's patch matrix, transposed; zero outside the map, the patch and ``valid``.

    Args:
        a: Pointer to the input.
        group: The group.
        elements: Patch elements, ``[BD]``, ordered by kernel offset, then channel.
        example: Example of each column, a scalar or ``[BP]``.
        position: Output position of each column, ``[BP]``.
        valid: Whether each column exists, ``[BP]``.
        VIEW: The layer.

    Returns:
        ``[BD, BP]``.
    """
    channel = elements % VIEW.channels
    down = elements // VIEW.channels // VIEW.kernel_width * VIEW.dilation_y  # [BD]
    right = elements // VIEW.channels % VIEW.kernel_width * VIEW.dilation_x  # [BD]
    y = position // VIEW.out_width * VIEW.stride_y - VIEW.above  # [BP]
    x = position % VIEW.out_width * VIEW.stride_x - VIEW.left  # [BP]

    group_start = a + group.to(tl.int64) * (VIEW.channels * VIEW.channel_step)
    window = group_start + (example.to(tl.int64) * VIEW.example_step + y * VIEW.row_step + x * VIEW.column_step)  # [BP]
    offset = channel * VIEW.channel_step + down * VIEW.row_step + right * VIEW.column_step  # [BD]
    inside = (elements < VIEW.weights)[:, None] & valid[None, :]  # [BD, BP]
    if VIEW.padded:
        row = y[None, :] + down[:, None]
        column = x[None, :] + right[:, None]
        inside &= (row >= 0) & (row < VIEW.height) & (column >= 0) & (column < VIEW.width)
    patches = tl.load(window[None, :] + offset[:, None], mask=inside, other=0.0)
    if VIEW.bias:
        patches = tl.where((elements == VIEW.weights)[:, None] & valid[None, :], 1.0, patches)
    return patches
