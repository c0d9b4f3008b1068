"""One correlation case: a network, how long it is trained, and on how many images it is looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from kfc_bench.experiments.base import Case
from kfc_bench.experiments.trained import Training


@dataclass(frozen=True)
class CorrelationCase(Case):
    """A trained network that is looked at.

    Attributes:
        training: How the network gets there.
        epochs: Passes over the training images before it is looked at; 0 is the network as initialised.
        examples: Test images that it is looked at on, the first so many.
        timeout_s: Seconds without a sign of life before the case is given up.
    """

    training: Training
    epochs: float
    examples: int
    timeout_s: float
    memory_limit_bytes: int | None = None
    experiment: str = field(default="correlation", init=False)

    def parameters(self) -> dict[str, Any]:
        """Return everything but limits."""
        return {**asdict(self.training), "epochs": self.epochs, "examples": self.examples}

    def columns(self) -> dict[str, Any]:
        """Return the identifying columns of the record."""
        return {
            "device": self.training.device,
            "problem": self.training.problem,
            "network": self.training.network,
            "seed": self.training.seed,
            "epochs": self.epochs,
            "examples": self.examples,
        }

    @property
    def group(self) -> str:
        """Each case runs by itself."""
        return f"correlation {self.case_id}"

    @property
    def label(self) -> str:
        """For the progress bar."""
        training = self.training
        return f"correlation of {training.network} on {training.problem}, {self.epochs:g} epochs, seed {training.seed}"
