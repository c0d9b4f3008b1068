"""One inverse case: a matrix, made up or of a training, and what inverts it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from kfc_bench.experiments.base import Case
from kfc_bench.experiments.inverse.factors import Training, damped_factor
from kfc_bench.experiments.inverse.families import FAMILIES
from kfc_bench.measure.visits import StoppingRule
from kfc_bench.problems.networks import layer_geometries
from kfc_kernels import damped_inverse

Start = Literal["cold", "warm"]


@dataclass(frozen=True)
class Problem:
    """What is to be inverted.

    Attributes:
        matrix: ``[n, n]``.
        shift: A scalar.
        condition: The damped matrix's condition number.
        previous: The inverse of the refresh before, ``[n, n]``; None where there is none.
    """

    matrix: Tensor
    shift: Tensor
    condition: float
    previous: Tensor | None


@dataclass(frozen=True)
class MadeUp:
    """A matrix of a family.

    Attributes:
        family: A key of `FAMILIES`.
        size: n.
        condition: The damped matrix's condition number.
    """

    family: str
    size: int
    condition: float

    def columns(self) -> dict[str, Any]:
        """Return the identifying columns of the record."""
        return {"source": "family", **asdict(self)}

    def parameters(self) -> dict[str, Any]:
        """Return what identifies the matrix."""
        return self.columns()

    def problem(self, dtype: torch.dtype, device: str) -> Problem:
        """Make it."""
        matrix, shift = FAMILIES[self.family](self.size, self.condition)
        matrix = matrix.to(device, dtype)
        return Problem(matrix, torch.tensor(shift, dtype=dtype, device=device), self.condition, None)


@dataclass(frozen=True)
class Trained:
    """A factor of a training run at one of its refreshes.

    Attributes:
        training: The run.
        layer: The layer's name.
        factor: ``"input_factor"`` or ``"output_factor"``.
        damping: lambda + gamma that it is inverted with.
        step: The refresh.
    """

    training: Training
    layer: str
    factor: str
    damping: float
    step: int

    def columns(self) -> dict[str, Any]:
        """Return the identifying columns of the record."""
        geometry = layer_geometries(self.training.network)[self.layer]
        return {
            "source": "training",
            "network": self.training.network,
            "layer": self.layer,
            "factor": self.factor,
            "size": geometry.patch_dim if self.factor == "input_factor" else geometry.group_outputs,
            "damping": self.damping,
            "step": self.step,
        }

    def parameters(self) -> dict[str, Any]:
        """Return what identifies the matrix."""
        return {**self.columns(), "training": asdict(self.training)}

    def problem(self, dtype: torch.dtype, device: str) -> Problem:
        """Train, unless that was done, and invert the factor of the refresh before."""
        place = list(layer_geometries(self.training.network)).index(self.layer)

        def damped(step: int) -> tuple[Tensor, Tensor]:
            matrix, shift = damped_factor(
                self.training, device, step=step, layer=place, factor=self.factor, damping=self.damping
            )
            return matrix.to(dtype), shift.to(dtype)

        matrix, shift = damped(self.step)
        values = torch.linalg.eigvalsh(matrix.double()) + shift.double()
        condition = float(values[-1] / values[0])
        if self.step == 0:
            return Problem(matrix, shift, condition, None)
        before = damped(self.step - self.training.inverses_every)
        return Problem(matrix, shift, condition, damped_inverse(*([part] for part in before)).inverses[0])


@dataclass(frozen=True)
class InverseCase(Case):
    """A matrix and what inverts it.

    Attributes:
        origin: Where the matrix comes from.
        implementation: Which implementation of `kfc_kernels.damped_inverse` runs.
        start: Whether an iteration starts from the last inverse; None of a direct method.
        dtype: ``"float32"`` or ``"float64"``.
        device: ``"cpu"`` or ``"cuda"``.
        rule: When to stop.
        timeout_s: Seconds without a sign of life before the case is given up.
    """

    origin: MadeUp | Trained
    implementation: str
    start: Start | None
    dtype: str
    device: str
    rule: StoppingRule
    timeout_s: float
    memory_limit_bytes: int | None = None
    experiment: str = field(default="inverse", init=False)

    def parameters(self) -> dict[str, Any]:
        """Return everything but limits and the stopping rule."""
        return {
            **self.origin.parameters(),
            "implementation": self.implementation,
            "start": self.start,
            "dtype": self.dtype,
            "device": self.device,
        }

    def columns(self) -> dict[str, Any]:
        """Return the identifying columns of the record."""
        own = {"device": self.device, "dtype": self.dtype, "implementation": self.implementation, "start": self.start}
        return {**own, **self.origin.columns()}

    def _matrix(self) -> str:
        return " ".join(str(value) for value in self.origin.columns().values())

    @property
    def group(self) -> str:
        """All that inverts one matrix."""
        return f"{self._matrix()} {self.dtype}"

    @property
    def label(self) -> str:
        """For the progress bar."""
        return f"{self.implementation} {self.start or ''}".rstrip() + f", {self._matrix()}"

    def problem(self) -> Problem:
        """Return the matrix, in the case's own dtype."""
        return self.origin.problem(getattr(torch, self.dtype), self.device)
