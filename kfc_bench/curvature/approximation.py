"""What every Fisher approximation does: observe a batch, refresh its inverse, precondition a gradient."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from kfc_kernels import ConvGeometry, damped_inverse
from kfc_kernels.catalogue import OPERATORS


@dataclass(frozen=True)
class LayerBatch:
    """What one layer saw of one batch.

    Attributes:
        geometry: The layer.
        inputs: ``[N, C, *in]``.
        output_gradients: Backpropagated vectors of each example's own loss, ``[V, N, K, *out]``.
    """

    geometry: ConvGeometry
    inputs: Tensor
    output_gradients: Tensor


@dataclass(frozen=True)
class PhaseBytes:
    """Predicted peak memory of each phase beyond its inputs, results included, in bytes."""

    accumulate: int
    refresh: int
    precondition: int


def _has(implementation: str, operator: str) -> bool:
    return any(entry.name == implementation for entry in OPERATORS[operator].table)


class Approximation(ABC):
    """A Fisher approximation over the layers of a network.

    Statistics are running averages with e_k = min(1 - 1/k, decay) (Martens & Grosse 2015, supplement D).

    Args:
        damping: lambda + gamma, weight decay and damping together.
        decay: The limit of e_k.
        implementation: Which implementation runs of the operators that have one of that name; the others, and with
            ``"auto"`` all, choose.
        inverse: Which implementation of the damped inverse runs; it starts from the last inverses if it iterates.

    Attributes:
        statistics: Per layer (or one for the whole network), the running averages.
        inverses: Per layer (or one for the whole network), what `precondition` multiplies with.
        observations: Number of batches observed.
        raised: Matrices that got more damping than asked because they were not positive definite, over all refreshes.
    """

    def __init__(
        self, *, damping: float, decay: float = 0.95, implementation: str = "auto", inverse: str = "auto"
    ) -> None:
        if not damping > 0:
            raise ValueError(f"damping must be positive, not {damping}")
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must lie in [0, 1], not {decay}")
        if implementation != "auto" and not any(map(partial(_has, implementation), OPERATORS)):
            raise ValueError(f"no operator has an implementation {implementation!r}")
        self.damping = damping
        self.decay = decay
        self.implementation = implementation
        self.inverse = inverse
        self.statistics: list[list[Tensor]] = []
        self.inverses: list[list[Tensor]] = []
        self.observations = 0
        self.raised = 0

    def chosen(self, operator: str) -> str:
        """Return which implementation of an operator runs: the one asked for where it has it, else ``"auto"``."""
        return self.implementation if _has(self.implementation, operator) else "auto"

    def observe(self, batches: Sequence[LayerBatch]) -> None:
        """Add one batch to the running averages.

        Args:
            batches: One per layer, always in the same order.
        """
        self.observations += 1
        if self.observations == 1:
            self.statistics = self._accumulate(batches, None, None)
        else:
            self._accumulate(batches, self.statistics, min(1 - 1 / self.observations, self.decay))

    @abstractmethod
    def _accumulate(
        self, batches: Sequence[LayerBatch], out: list[list[Tensor]] | None, decay: float | None
    ) -> list[list[Tensor]]:
        """Compute the batch's statistics, fresh (``out`` None) or into the running averages ``out``."""

    @abstractmethod
    def damped(self) -> list[list[tuple[Tensor, Tensor | float]]]:
        """Return, per layer, the matrices to invert, each with the shift to its diagonal; empty if none are."""

    def refresh(self) -> None:
        """Invert the damped statistics.

        Raises:
            RuntimeError: No batch has been observed.
            NotInvertibleError: A statistic is not finite.
        """
        if not self.statistics:
            raise RuntimeError("refresh() before any observe(): there are no statistics to invert")
        layers = self.damped()
        flat = [pair for layer in layers for pair in layer]
        found = damped_inverse(
            [matrix for matrix, _ in flat],
            [shift for _, shift in flat],
            previous=[inverse for layer in self.inverses for inverse in layer] if self.inverses else None,
            implementation=self.inverse,
        )
        self.raised += found.raised
        inverses = iter(found.inverses)
        self.inverses = [[next(inverses) for _ in layer] for layer in layers]

    @abstractmethod
    def precondition(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Multiply the loss gradient with the inverse approximation.

        Args:
            gradients: One joint gradient ``[K, D]`` per layer, with groups ``[groups, K/groups, D]``.

        Returns:
            The natural gradients, likewise.
        """

    @staticmethod
    @abstractmethod
    def predicted_bytes(geometries: Sequence[ConvGeometry], batch: int, vectors: int, element_size: int) -> PhaseBytes:
        """Predict the memory each phase needs with the plain implementations.

        Args:
            geometries: The layers.
            batch: Examples N.
            vectors: Backpropagated vectors V per example.
            element_size: Bytes per number.

        Returns:
            Bytes by phase.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {
            "statistics": self.statistics,
            "inverses": self.inverses,
            "observations": self.observations,
            "raised": self.raised,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a copy of what `state_dict` returned."""
        self.statistics = copy.deepcopy(state["statistics"])
        self.inverses = copy.deepcopy(state["inverses"])
        self.observations = state["observations"]
        self.raised = state["raised"]
