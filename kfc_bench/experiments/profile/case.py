"""One profile: whose step, on which network and batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from kfc_bench.curvature.likelihoods import Fisher
from kfc_bench.experiments.base import Case
from kfc_bench.experiments.cost.case import SGD
from kfc_bench.measure.precision import Precision
from kfc_bench.measure.visits import StoppingRule
from kfc_bench.problems.named import find_network, structure
from kfc_bench.problems.networks import Network

Kind = tuple[bool, bool]
"""A kind of step: whether it gathers statistics, and whether it refreshes the inverses."""


@dataclass(frozen=True)
class ProfileCase(Case):
    """A training step to be taken apart.

    Attributes:
        network: A key of `kfc_bench.problems.networks.NETWORKS`, or ``module:callable``.
        input_shape: Of one example; None for the network's own.
        approximation: Of natural gradient's step, or ``"sgd"``.
        batch: Examples N.
        clip: C; None for no clipping.
        fisher: Where the backpropagated vectors come from.
        damping: gamma.
        statistics_every: T_s.
        inverses_every: T_f.
        dtype: ``"float32"`` or ``"float64"``.
        precision: Of float32 products.
        device: ``"cpu"`` or ``"cuda"``.
        rule: When to stop.
        timeout_s: Seconds without a sign of life before the case is given up.
    """

    network: str
    input_shape: tuple[int, ...] | None
    approximation: str
    batch: int
    clip: float | None
    fisher: Fisher
    damping: float
    statistics_every: int
    inverses_every: int
    dtype: str
    precision: Precision
    device: str
    rule: StoppingRule
    timeout_s: float
    memory_limit_bytes: int | None = None
    experiment: str = field(default="profile", init=False)

    @property
    def is_sgd(self) -> bool:
        """Whether it is plain SGD's step."""
        return self.approximation == SGD

    @property
    def torch_dtype(self) -> torch.dtype:
        """Dtype of parameters and images."""
        return getattr(torch, self.dtype)

    def find(self) -> Network:
        """Return the network."""
        return find_network(self.network, self.input_shape)

    def kinds(self) -> dict[Kind, float]:
        """Return the kinds of step in a cycle of both periods, the one that does everything first, with their shares.

        Returns:
            Shares that add up to 1.
        """
        if self.is_sgd:
            return {(False, False): 1.0}
        cycle = math.lcm(self.statistics_every, self.inverses_every)
        found: dict[Kind, float] = {}
        for index in range(cycle):
            kind = (index % self.statistics_every == 0, index % self.inverses_every == 0)
            found[kind] = found.get(kind, 0.0) + 1 / cycle
        return found

    def parameters(self) -> dict[str, Any]:
        """Return everything but limits and the stopping rule; what an imported network is made of beside its name."""
        shape = None if self.input_shape is None else list(self.input_shape)
        own = {} if self.is_sgd else self._natural()
        made_of = {"structure": structure(self.network, self.input_shape or ())} if ":" in self.network else {}
        return {
            "network": self.network,
            **made_of,
            "input": shape,
            "approximation": self.approximation,
            "batch": self.batch,
            "dtype": self.dtype,
            "precision": self.precision,
            "device": self.device,
            **own,
        }

    def _natural(self) -> dict[str, Any]:
        return {
            "clip": self.clip,
            "fisher": self.fisher,
            "damping": self.damping,
            "statistics_every": self.statistics_every,
            "inverses_every": self.inverses_every,
        }

    def columns(self) -> dict[str, Any]:
        """Return the identifying columns of the record."""
        shape = self.input_shape or self.find().input_shape
        parameters = {name: value for name, value in self.parameters().items() if name != "structure"}
        return {**parameters, "input": "x".join(map(str, shape))}

    @property
    def group(self) -> str:
        """All steps on one network and batch."""
        return f"{self.network} {self.input_shape} batch {self.batch} {self.dtype} {self.precision}"

    @property
    def label(self) -> str:
        """For the progress bar."""
        clipped = "" if self.clip is None else f" clipped at {self.clip:g}"
        return f"profile of {self.approximation}{clipped}, {self.network}, batch {self.batch}"
