"""The diagonal Fisher with each example's gradient tile formed, squared and forgotten in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.results import store
from kfc_kernels.triton_gather import gatherable, weight_element
from kfc_kernels.triton_gradients import configuration, described, gradient_tile
from kfc_kernels.triton_launch import Ahead, alike, check_indices, meta_input, on_device_of, splits, summed


@triton.jit(do_not_specialize=["examples", "gradients", "gradients_per_split", "scale"])
def diagonal_fisher_kernel(
    a: tl.tensor,
    g: tl.tensor,
    out: tl.tensor,
    examples: tl.tensor,
    gradients: tl.tensor,
    gradients_per_split: tl.tensor,
    vector_step: tl.tensor,
    example_step: tl.tensor,
    scale: tl.tensor,
    VIEW: tl.constexpr,
    K: tl.constexpr,
    G_STEPS: tl.constexpr,
    BK: tl.constexpr,
    BD: tl.constexpr,
    BP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Sum one tile's squared gradients over one split of V*N; ``out`` is ``[splits, groups, K/groups, D]``."""
    D: tl.constexpr = VIEW.weights + VIEW.bias
    column_tiles: tl.constexpr = (D + BD - 1) // BD
    group = tl.program_id(1)
    split = tl.program_id(2)
    rows = tl.program_id(0) // column_tiles * BK + tl.arange(0, BK)
    columns = tl.program_id(0) % column_tiles * BD + tl.arange(0, BD)

    total = tl.zeros((BK, BD), tl.float32)
    first = split * gradients_per_split
    for index in range(first, min(first + gradients_per_split, gradients)):
        gradient = gradient_tile(
            a, g, index, examples, vector_step, example_step, group, rows, columns, VIEW, K, G_STEPS, BP, PRECISION
        )
        total += gradient * gradient

    matrix = out + (split * tl.num_programs(1) + group).to(tl.int64) * (K * D)
    inside = (rows < K)[:, None] & (columns < D)[None, :]
    weights = weight_element(columns, VIEW.channels, VIEW.kernel_elements)
    tl.store(matrix + (rows[:, None] * D + weights[None, :]), total * scale, mask=inside)


def ahead_of_time(geometry: ConvGeometry, dtype: torch.dtype, target: str) -> Ahead:  # noqa: ARG001
    """Describe the launch for contiguous operands, for `kfc_kernels.compile_ahead`.

    Args:
        geometry: The layer.
        dtype: Element type of the operands.
        target: The architecture; all have the same launches.

    Returns:
        As `described_squares`.
    """
    return described_squares(meta_input(geometry, dtype), geometry)


def described_squares(a: Tensor, geometry: ConvGeometry) -> Ahead:
    """Describe the launch of `mean_squares` for contiguous signals.

    Args:
        a: An input ``[1, C, *in]`` without data.
        geometry: The layer.

    Returns:
        The kernel, the types of its arguments, and its configuration, in a list of one.
    """
    types, launch = described(a, geometry)
    types |= {"gradients": "i32", "gradients_per_split": "i32", "scale": "fp32"}
    return [(diagonal_fisher_kernel, types, launch)]


def mean_squares(a: Tensor, g: Tensor, geometry: ConvGeometry, scale: float, *, operator: str) -> Tensor:
    """Compute ``scale * sum_{v,n} (sum_t g a^T)^2``.

    Args:
        a: ``[N, C, *in]`` as `gatherable` returns it, of the dtype of ``g``; examples may share memory.
        g: ``[V, N, K, *out]``.
        geometry: The layer, with zeros padding.
        scale: Factor of the sum.
        operator: The operator that it is for, for errors.

    Returns:
        ``[groups, K/groups, D]``, float32.

    Raises:
        UnsupportedError: 32-bit indices cannot count gradients or elements.
    """
    launch = configuration(a, g, geometry)
    batch, gradients, rows, columns = a.shape[0], g.shape[0] * a.shape[0], geometry.group_outputs, geometry.patch_dim
    check_indices(
        operator,
        gradients=gradients,
        elements_of_an_example=max(a[0].numel(), g[0, 0].numel()),
        block=rows * columns,
    )
    tiles = triton.cdiv(rows, launch["BK"]) * triton.cdiv(columns, launch["BD"])
    parts = splits(tiles * geometry.groups, gradients, a.device)
    per_split = triton.cdiv(gradients, parts)
    partial = torch.empty(parts, geometry.groups, rows, columns, dtype=torch.float32, device=a.device)
    with on_device_of(a):
        diagonal_fisher_kernel[tiles, geometry.groups, parts](
            a, g, partial, batch, gradients, per_split, *g.stride()[:2], scale, **launch
        )
    return summed(partial)


def diagonal_fisher(a: Tensor, g: Tensor, geometry: ConvGeometry, *, out: Tensor | None, decay: float | None) -> Tensor:
    """Return the diagonal as `kfc_kernels.diagonal_fisher` does, multiplying operands of unlike dtypes as float32."""
    a, g = alike(a, g)
    batch = a.shape[0]
    a, geometry = gatherable(a, geometry)
    diagonal = mean_squares(a, g, geometry, 1 / batch, operator="diagonal_fisher")
    return store(diagonal.reshape(geometry.grouped(*diagonal.shape[1:])), out, decay)
