"""One cost case: what runs, on which layer or network, how many examples, in which precision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch

from kfc_bench.curvature.likelihoods import Fisher
from kfc_bench.experiments.base import Case
from kfc_bench.measure.clock import Cache
from kfc_bench.measure.precision import Precision, operand_dtype
from kfc_bench.measure.visits import StoppingRule
from kfc_bench.problems.networks import layer_geometries
from kfc_kernels import ConvGeometry

LayerPhase = Literal["accumulate", "refresh", "precondition"]
"""Measured on a layer or a network, from drawn numbers."""

Phase = LayerPhase | Literal["step"]
"""A step is a network's: both passes, statistics and inverses when due, the update."""

LAYER_PHASES: tuple[LayerPhase, ...] = get_args(LayerPhase)
PHASES: tuple[Phase, ...] = (*LAYER_PHASES, "step")
SGD = "sgd"


@dataclass(frozen=True)
class CostCase(Case):
    """An operator, or an approximation's phase, on one layer or a named network.

    Attributes:
        operator: Operator's name, or None.
        approximation: Approximation's name or ``"sgd"``, or None.
        phase: The approximation's phase, or None for an operator.
        implementation: Which implementation of the operators runs.
        network: Network's name, or None for a single layer.
        layer: The layer's name, ``network.layer`` or a description; None for a network.
        geometry: The layer's geometry; None for a network.
        batch: Examples N.
        fisher: Where the backpropagated vectors of a step come from.
        dtype: ``"float32"`` or ``"float64"``.
        precision: Precision of the products.
        device: ``"cpu"`` or ``"cuda"``.
        cache: What a sample finds in the device's cache.
        damping: lambda + gamma.
        statistics_every: Steps between statistics, for ``step``.
        inverses_every: Steps between inverses, for ``step``.
        rule: When to stop.
        timeout_s: Seconds without a sign of life before the case is given up.
        memory_limit_bytes: Predicted need above which the case is not tried; None for what is free.
        call_limit_s: Predicted seconds a call above which the case is not tried; None for no limit.
        energy: Whether the energy of a call is measured too, which takes a second more.
        clip: C of a step that clips; None for one that does not, and for all that is no natural gradient's step.
    """

    operator: str | None
    approximation: str | None
    phase: Phase | None
    implementation: str
    network: str | None
    layer: str | None
    geometry: ConvGeometry | None
    batch: int
    fisher: Fisher
    dtype: str
    precision: Precision
    device: str
    cache: Cache
    damping: float
    statistics_every: int
    inverses_every: int
    rule: StoppingRule
    timeout_s: float
    memory_limit_bytes: int | None
    call_limit_s: float | None = None
    energy: bool = False
    clip: float | None = None
    experiment: str = field(default="cost", init=False)

    @property
    def geometries(self) -> list[ConvGeometry]:
        """The layers: one, or all of the network's."""
        if self.geometry is not None:
            return [self.geometry]
        return list(layer_geometries(self.network or "").values())

    @property
    def torch_dtype(self) -> torch.dtype:
        """Dtype of parameters and sums."""
        return getattr(torch, self.dtype)

    @property
    def operands(self) -> torch.dtype:
        """Dtype in which operands are handed to an operator."""
        return operand_dtype(self.torch_dtype, self.precision)

    def _what(self) -> str:
        return self.operator or f"{self.approximation} {self.phase}"

    def _where(self) -> str:
        return self.layer or self.network or ""

    def parameters(self) -> dict[str, Any]:
        """Return everything but limits and the stopping rule, which do not change what is measured, and no clipping."""
        return {
            "operator": self.operator,
            "approximation": self.approximation,
            "phase": self.phase,
            "implementation": self.implementation,
            "network": self.network,
            "geometry": geometry_columns(self.geometry) if self.geometry else None,
            "batch": self.batch,
            "fisher": self.fisher,
            "dtype": self.dtype,
            "precision": self.precision,
            "device": self.device,
            "cache": self.cache,
            "damping": self.damping,
            "periods": [self.statistics_every, self.inverses_every] if self.phase == "step" else None,
            **({} if self.clip is None else {"clip": self.clip}),
        }

    def columns(self) -> dict[str, Any]:
        """Return the identifying columns of the record."""
        return {
            "device": self.device,
            "operator": self.operator,
            "network": self.network,
            "layer": self.layer,
            "approximation": self.approximation,
            "implementation": self.implementation,
            "fisher": self.fisher if self.phase == "step" else None,
            "phase": self.phase,
            "clip": self.clip,
            **(geometry_columns(self.geometry) if self.geometry else {}),
            "parameters": sum(geometry.parameters for geometry in self.geometries),
            "batch": self.batch,
            "dtype": self.dtype,
            "precision": self.precision,
            "cache": self.cache,
        }

    @property
    def group(self) -> str:
        """All that is compared: the same layer or network, batch, phase or operator, precision, cache."""
        what = self.operator or self.phase
        return f"{self._where()} {what} batch {self.batch} {self.dtype} {self.precision} {self.cache}"

    @property
    def label(self) -> str:
        """For the progress bar."""
        variant = "" if self.implementation == "auto" else f" {self.implementation}"
        variant += "" if self.clip is None else f" clipped at {self.clip:g}"
        return f"{self._what()}{variant}, {self._where()}, batch {self.batch}"


def _axes(values: tuple[int, ...]) -> str:
    """Write sizes as ``5``, or ``3x1`` where the axes differ."""
    return str(values[0]) if values and len(set(values)) == 1 else "x".join(map(str, values)) or "1"


def geometry_columns(geometry: ConvGeometry) -> dict[str, Any]:
    """Return the columns of a record that describe a layer."""
    before = tuple(side for side, _ in geometry.padding)
    uneven = any(left != right for left, right in geometry.padding)
    mode = "" if geometry.padding_mode == "zeros" else f" {geometry.padding_mode}"
    return {
        "in_channels": geometry.in_channels,
        "out_channels": geometry.out_channels,
        "size": "x".join(map(str, geometry.in_size)) or "1",
        "kernel": "x".join(map(str, geometry.kernel)) or "1",
        "stride": _axes(geometry.stride),
        "padding": ("same" if uneven else _axes(before) if before else "0") + mode,
        "dilation": _axes(geometry.dilation),
        "groups": geometry.groups,
        "bias": geometry.bias,
    }
