"""Which implementation of an operator runs: the table, the reasons against, the predicted times, and the choice."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from kfc_kernels.geometry import ConvGeometry


class UnsupportedError(ValueError):
    """An implementation was asked for a case that it does not take; the message says which and why."""


@dataclass(frozen=True)
class Case:
    """What an implementation needs to know to accept or decline.

    Attributes:
        geometry: The layer, or None for operators that see matrices only.
        dtype: Element type of the operands.
        device: Where they lie.
        batch: Examples N.
    """

    geometry: ConvGeometry | None
    dtype: torch.dtype
    device: torch.device
    batch: int = 1


def takes_anything(case: Case) -> str | None:  # noqa: ARG001
    """Decline nothing."""
    return None


def declines_without_triton(case: Case) -> str | None:
    """Decline where a Triton kernel cannot run (no CUDA device, no interpreter), and dtypes that none takes."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if case.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return (
            f"sums in float32, so it takes float32, float16 and bfloat16, not {str(case.dtype).removeprefix('torch.')}"
        )
    interpreted = importlib.import_module("triton").knobs.runtime.interpret
    if case.device.type == "cuda" and not interpreted:
        return None
    if not interpreted:
        return f"needs a CUDA device (or TRITON_INTERPRET=1), not {case.device.type}"
    if case.dtype == torch.bfloat16:
        return "the Triton interpreter's bfloat16 products are wrong"
    return None


def declines_gather(case: Case) -> str | None:
    """Decline what a Triton kernel that gathers patches on the fly does not take: more than two axes."""
    if case.geometry is not None and case.geometry.axes > 2:
        return f"takes at most 2 spatial axes, not {case.geometry.axes}"
    return declines_without_triton(case)


@dataclass(frozen=True)
class Implementation:
    """One way to compute an operator.

    Attributes:
        name: What the suites and the ``implementation`` argument call it.
        module: Module that holds it, imported when it first runs.
        function: Its function there.
        declines: Returns why it does not take a case, or None.
        seconds: Predicts how long a case takes; None where the table's order decides.
    """

    name: str
    module: str
    function: str
    declines: Callable[[Case], str | None] = takes_anything
    seconds: Callable[[Case], float] | None = None

    def predict(self, case: Case) -> float:
        """Predict how many seconds a case takes; 0 where nothing is predicted, so that the table's order stays."""
        return self.seconds(case) if self.seconds is not None else 0.0

    def load(self) -> Callable[..., Any]:
        """Import and return the function."""
        return getattr(importlib.import_module(self.module), self.function)


@dataclass(frozen=True)
class Operator:
    """An operator and its implementations, the preferred one first.

    Attributes:
        name: The operator's public name.
        table: Its implementations. ``"auto"`` takes the one of those that accept the case that is predicted to be
            fastest, without predictions the first.
    """

    name: str
    table: tuple[Implementation, ...]

    def accepting(self, case: Case) -> list[str]:
        """List the names of the implementations that take ``case``, preferred first."""
        entries = [entry for entry in self.table if entry.declines(case) is None]
        return [entry.name for entry in sorted(entries, key=lambda entry: entry.predict(case))]

    def choose(self, implementation: str, case: Case) -> Callable[..., Any]:
        """Find the function to run.

        Args:
            implementation: A name from the table, or ``"auto"``.
            case: The case at hand.

        Returns:
            The implementation's function.

        Raises:
            UnsupportedError: The name is unknown, or the implementation declines the case.
        """
        entries = {entry.name: entry for entry in self.table}
        if implementation == "auto":
            accepting = self.accepting(case)
            if not accepting:
                reasons = "; ".join(f"{name} {entry.declines(case)}" for name, entry in entries.items())
                raise UnsupportedError(f"{self.name}: {reasons}")
            return entries[accepting[0]].load()
        if implementation not in entries:
            known = ", ".join(entries)
            raise UnsupportedError(f"{self.name} has no implementation {implementation!r}; there are: auto, {known}")
        reason = entries[implementation].declines(case)
        if reason is not None:
            raise UnsupportedError(f"{self.name}: {implementation} {reason}")
        return entries[implementation].load()
