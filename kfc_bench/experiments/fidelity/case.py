"""One fidelity case: a small network at one time of its training, and the damping that everything is judged at."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from kfc_bench.experiments.base import Case
from kfc_bench.experiments.trained import Training
from kfc_bench.problems.networks import layer_geometries


@dataclass(frozen=True)
class FidelityCase(Case):
    """A network whose exact Fisher matrix is formed.

    Attributes:
        training: How the network gets there.
        epoch: Passes over the training images before it is looked at; 0 is the network as initialised.
        examples: Training images that every matrix is an average over, the first so many.
        damping: Added to the diagonal of every matrix that is inverted.
        kl: What a step may come to in the damped exact metric, in nats.
        timeout_s: Seconds without a sign of life before the case is given up.
    """

    training: Training
    epoch: float
    examples: int
    damping: float
    kl: float
    timeout_s: float
    memory_limit_bytes: int | None = None
    experiment: str = field(default="fidelity", init=False)

    def parameters(self) -> dict[str, Any]:
        """Return everything but limits."""
        return {
            **asdict(self.training),
            "epoch": self.epoch,
            "examples": self.examples,
            "damping": self.damping,
            "kl": self.kl,
        }

    def columns(self) -> dict[str, Any]:
        """Return the identifying columns of the record."""
        geometries = layer_geometries(self.training.network).values()
        return {
            "device": self.training.device,
            "problem": self.training.problem,
            "network": self.training.network,
            "parameters": sum(geometry.parameters for geometry in geometries),
            "seed": self.training.seed,
            "epoch": self.epoch,
            "examples": self.examples,
            "damping": self.damping,
        }

    @property
    def group(self) -> str:
        """Each case runs by itself."""
        return f"fidelity {self.case_id}"

    @property
    def label(self) -> str:
        """For the progress bar."""
        return (
            f"fidelity on {self.training.network}, seed {self.training.seed}, epoch {self.epoch:g}, "
            f"damping {self.damping:g}"
        )
