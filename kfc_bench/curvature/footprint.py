"""Bytes that the plain operators are given, and hold while they run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kfc_kernels import ConvGeometry


def inverting(matrices: Sequence[tuple[int, int]]) -> int:
    """Count the numbers held while matrices are inverted: all inverses, and those of one size, which go together.

    They are held twice more: damped and factored; several of a size once more again, put into one stack.

    Args:
        matrices: Groups and size of each.

    Returns:
        How many numbers.
    """
    alike: dict[int, list[int]] = {}
    for groups, size in matrices:
        alike.setdefault(size, []).append(groups * size**2)
    together = max((3 if len(numbers) > 1 else 2) * sum(numbers) for numbers in alike.values())
    return sum(map(sum, alike.values())) + together


@dataclass(frozen=True)
class Footprint:
    """What the plain operators of one layer are given and hold at once, in bytes.

    Attributes:
        geometry: The layer.
        batch: Examples N.
        vectors: Backpropagated vectors V per example.
        element_size: Bytes per number.
    """

    geometry: ConvGeometry
    batch: int
    vectors: int
    element_size: int

    def _patches(self, patch_dim: int) -> int:
        layer = self.geometry
        return self.element_size * layer.groups * self.batch * layer.positions * patch_dim

    @property
    def patches(self) -> int:
        """The expanded input, ``[groups, N, |T|, D]``."""
        return self._patches(self.geometry.patch_dim)

    @property
    def gathering(self) -> int:
        """The padded input, the patches, and the copy that appends ones; a view of the input takes nothing."""
        layer = self.geometry
        sides = [before + after for before, after in layer.padding]
        is_view = layer.kernel_elements == 1 and not any(sides) and set(layer.stride) <= {1}
        pixels = math.prod(size + side for size, side in zip(layer.in_size, sides, strict=True)) if any(sides) else 0
        padded = self.element_size * self.batch * layer.in_channels * pixels
        plain = 0 if is_view else self._patches(layer.patch_dim - layer.bias)
        return padded + plain + (self.patches if layer.bias else 0)

    @property
    def inputs(self) -> int:
        """The layer's input, ``[N, C, *in]``."""
        layer = self.geometry
        return self.element_size * self.batch * layer.in_channels * math.prod(layer.in_size)

    @property
    def output_gradients(self) -> int:
        """The backpropagated vectors or a copy of them, ``[V, N, K, |T|]``."""
        return self.element_size * self.vectors * self.batch * self.geometry.out_channels * self.geometry.positions

    @property
    def given(self) -> int:
        """What a phase is given: the input, the backpropagated vectors and a gradient."""
        return self.inputs + self.output_gradients + self.element_size * self.geometry.parameters

    @property
    def example_gradients(self) -> int:
        """The per-example gradients, ``[groups, V, N, K/groups, D]``."""
        return self.element_size * self.vectors * self.batch * self.geometry.parameters

    @property
    def forming(self) -> int:
        """The peak while per-example gradients form: several vectors take a copy of the patches each."""
        repeated = self.vectors * self.patches if self.vectors > 1 else 0
        regrouped = self.output_gradients if self.geometry.groups > 1 else 0
        held = self.patches if self.gathering else 0
        return max(self.gathering, held + repeated + regrouped + self.example_gradients)
