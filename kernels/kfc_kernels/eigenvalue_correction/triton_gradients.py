"""The eigenvalue correction without per-example gradients in memory, but for those of a few examples.

Signals are rotated by Q_K before gradients are formed from them. Where patches are no larger than the input, they are
rotated by Q_D as well, and the rest is a diagonal Fisher. Else each gradient is multiplied with Q_D in registers, where
it is squared: a diagonal Fisher too, of a linear layer whose signals are the gradients and whose inputs are Q_D.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kfc_kernels import triton_gradients
from kfc_kernels.diagonal_fisher import triton_implicit_gemm, triton_squares
from kfc_kernels.eigenvalue_correction.rotate import by_group
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.patches import extract_patches, group_gradients
from kfc_kernels.results import store
from kfc_kernels.triton_launch import Ahead


def rotates_patches(geometry: ConvGeometry) -> bool:
    """Return whether patches are few or small enough to be rotated in memory."""
    return geometry.kernel_elements == 1 or geometry.positions == 1


def rotated_layer(geometry: ConvGeometry, size: tuple[int, ...]) -> ConvGeometry:
    """Return the 1x1 layer that has one input channel per eigenvector, on maps of a size."""
    channels = geometry.groups * geometry.patch_dim
    return ConvGeometry.conv(channels, geometry.out_channels, size, 1, groups=geometry.groups)


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launches for contiguous operands, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the operands, which are rotated in float32.
        target: The architecture; all have the same launches.

    Returns:
        The launch that forms gradients, where there is one, and that which sums squares.
    """
    size = geometry.out_size if rotates_patches(geometry) else (geometry.patch_dim,)
    layer = rotated_layer(geometry, size)
    if geometry.positions == 1:
        return triton_squares.ahead_of_time(layer, torch.float32, target)
    channels_last = torch.empty(1, *size, layer.in_channels, device="meta").movedim(-1, 1)
    squares = triton_implicit_gemm.described_squares(channels_last, layer)
    return (
        squares if rotates_patches(geometry) else [*triton_gradients.ahead_of_time(geometry, torch.float32), *squares]
    )


def eigenvalue_correction(
    a: Tensor,
    g: Tensor,
    geometry: ConvGeometry,
    output_basis: Tensor,
    input_basis: Tensor,
    *,
    out: Tensor | None,
    decay: float | None,
) -> Tensor:
    """Return the correction as `kfc_kernels.eigenvalue_correction` does."""
    batch, groups, outputs, patch = a.shape[0], geometry.groups, geometry.group_outputs, geometry.patch_dim
    left, right = by_group(geometry, output_basis, input_basis, torch.float32)
    signals = torch.einsum("gij,gvnit->vngjt", left, group_gradients(g.float(), geometry)).contiguous().view(g.shape)
    if rotates_patches(geometry):
        layer = rotated_layer(geometry, geometry.out_size)
        rotated = extract_patches(a.float(), geometry).flatten(1, 2) @ right
        inputs = rotated.unflatten(1, (batch, -1)).permute(1, 0, 3, 2).reshape(batch, -1, *geometry.out_size)
        squares = triton_squares if geometry.positions == 1 else triton_implicit_gemm
        return squares.diagonal_fisher(inputs, signals, layer, out=out, decay=decay)
    layer = rotated_layer(geometry, (patch,))
    columns = right.movedim(1, 0).reshape(patch, groups * patch).mT
    moments = torch.zeros(groups, outputs, patch, device=a.device)
    for chunk in triton_gradients.gradient_chunks(a.float(), signals, geometry, operator="eigenvalue_correction"):
        moments += triton_implicit_gemm.mean_squares(
            columns.expand(len(chunk), -1, -1),
            chunk.flatten(1, 2).unsqueeze(0),
            layer,
            1 / batch,
            operator="eigenvalue_correction",
        )
    return store(moments.reshape(geometry.grouped(outputs, patch)), out, decay)
