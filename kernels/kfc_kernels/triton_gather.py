"""Patches read straight from a layer's input in a Triton kernel: Eq. 25's expansion operator as index arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry


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
    example_step, channel_step, row_step, column_step = flat.stride()
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
        elements: Patch elements, ``[BD]``, ordered as ``weight.flatten(1)``.
        example: Example of each column, a scalar or ``[BP]``.
        position: Output position of each column, ``[BP]``.
        valid: Whether each column exists, ``[BP]``.
        VIEW: The layer.

    Returns:
        ``[BD, BP]``.
    """
    channel = elements // VIEW.kernel_elements
    down = elements % VIEW.kernel_elements // VIEW.kernel_width * VIEW.dilation_y  # [BD]
    right = elements % VIEW.kernel_width * VIEW.dilation_x  # [BD]
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
