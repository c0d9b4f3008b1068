"""What every Fisher approximation does: observe a batch, refresh its inverse, precondition a gradient."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from torch import Tensor

from kfc_bench.curvature.batch import Batch
from kfc_bench.spans import Layers, span
from kfc_kernels import ConvGeometry, damped_inverse
from kfc_kernels.catalogue import OPERATORS

B = TypeVar("B", bound=Batch)


@dataclass(frozen=True)
class PhaseBytes:
    """Predicted peak memory of each phase beyond its inputs, results included, in bytes."""

    accumulate: int
    refresh: int
    precondition: int


def _has(implementation: str, operator: str) -> bool:
    return any(entry.name == implementation for entry in OPERATORS[operator].table)


class Approximation(ABC, Generic[B]):
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
        seen: Per layer, the number of batches observed, k.
        observations: Number of batches observed.
        raised: Matrices that got more damping than asked because they were not positive definite, over all refreshes.
        names: Of the layers, for the spans that are marked; their indices where there are none.
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
        self.seen: list[int] = []
        self.observations = 0
        self.raised = 0
        self.names: list[str] = []

    def chosen(self, operator: str) -> str:
        """Return which implementation of an operator runs: the one asked for where it has it, else ``"auto"``."""
        return self.implementation if _has(self.implementation, operator) else "auto"

    def observe(self, batches: Sequence[B | None], *, decay: float | None = None) -> None:
        """Add one batch to the running averages.

        Args:
            batches: One per layer, always in the same order; None for a layer that took no part.
            decay: e of this batch, the same for all layers; None for e_k.
        """
        if not self.observations:
            self.statistics = [[] for _ in batches]
            self.seen = [0] * len(batches)
        self.observations += 1
        for index, batch in enumerate(batches):
            if batch is None:
                continue
            self.seen[index] += 1
            if self.seen[index] == 1:
                self.statistics[index] = self._accumulate(index, batch, None, None)
            else:
                e = min(1 - 1 / self.seen[index], self.decay) if decay is None else decay
                self._accumulate(index, batch, self.statistics[index], e)

    def name(self, index: int) -> str:
        """Return a layer's name."""
        return self.names[index] if self.names else str(index)

    def _served(self, indices: Iterable[int]) -> Layers:
        """Name the layers that one call serves."""
        return tuple(map(self.name, indices))

    @abstractmethod
    def _accumulate(self, index: int, batch: B, out: list[Tensor] | None, decay: float | None) -> list[Tensor]:
        """Compute a layer's statistics of one batch, fresh (``out`` None) or into the running averages ``out``."""

    def _damped(self, index: int) -> list[tuple[Tensor, Tensor | float]]:
        """Return a layer's matrices to invert with the shifts to their diagonals; none where none are."""
        return []

    def damped(self) -> list[list[tuple[Tensor, Tensor | float]]]:
        """Return, per layer, the matrices to invert, each with the shift to its diagonal; empty if none are."""
        return [self._damped(index) if layer else [] for index, layer in enumerate(self.statistics)]

    def refresh(self) -> None:
        """Invert the damped statistics.

        Raises:
            RuntimeError: No batch has been observed.
            NotInvertibleError: A statistic is not finite.
        """
        if not self.observations:
            raise RuntimeError("refresh() before any observe(): there are no statistics to invert")
        with span("inverse", self._served(index for index, layer in enumerate(self.statistics) if layer)):
            self._refresh()

    def _refresh(self) -> None:
        layers = self.damped()
        alike = [len(layer) for layer in self.inverses] == [len(layer) for layer in layers]
        found = damped_inverse(
            [matrix for layer in layers for matrix, _ in layer],
            [shift for layer in layers for _, shift in layer],
            previous=[inverse for layer in self.inverses for inverse in layer] if alike else None,
            implementation=self.inverse,
        )
        self.raised += found.raised
        inverses = iter(found.inverses)
        self.inverses = [[next(inverses) for _ in layer] for layer in layers]

    def precondition(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Multiply the loss gradient with the inverse approximation.

        Args:
            gradients: Per layer its joint gradient, ``[K, D]``, with groups ``[groups, K/groups, D]``, flat where the
                layer is neither convolution nor linear; None where it took no part.

        Returns:
            The natural gradients, likewise.
        """
        present = [index for index, gradient in enumerate(gradients) if gradient is not None]
        naturals: list[Tensor | None] = [None] * len(gradients)
        with span("precondition", self._served(present)):
            found = self._precondition([gradient for gradient in gradients if gradient is not None], present)
        for index, natural in zip(present, found, strict=True):
            naturals[index] = natural
        return naturals

    @abstractmethod
    def _precondition(self, gradients: Sequence[Tensor], layers: Sequence[int]) -> list[Tensor]:
        """Precondition the gradients of the layers with these indices."""

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
            "seen": list(self.seen),
            "observations": self.observations,
            "raised": self.raised,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a copy of what `state_dict` returned."""
        self.statistics = copy.deepcopy(state["statistics"])
        self.inverses = copy.deepcopy(state["inverses"])
        self.seen = list(state["seen"])
        self.observations = state["observations"]
        self.raised = state["raised"]
