"""One trial: an optimizer with its hyperparameters and a seed, trained for so many steps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from kfc_bench.experiments.base import Case

Role = Literal["tuning", "report"]
Metric = Literal["error", "loss"]
Schedule = Literal["constant", "linear", "cosine"]
Layout = Literal["contiguous", "channels_last"]


@dataclass(frozen=True)
class Hyperparameters:
    """What is tuned.

    Attributes:
        lr: Learning rate, at first.
        momentum: mu; Adam's beta_1; 0 of Adagrad, which has none.
        damping: gamma; None for optimizers without curvature.
        weight_decay: lambda, the coefficient of the l2 term; of AdamW and Muon what they subtract beside the gradient.
        batch: Examples per step.
        schedule: How the learning rate goes on: as it is, or down to zero at the trial's end.
    """

    lr: float
    momentum: float
    damping: float | None
    weight_decay: float
    batch: int
    schedule: Schedule


@dataclass(frozen=True)
class Target:
    """What a trial is to reach: on validation data while tuning, on test data in the report.

    Attributes:
        metric: ``"error"`` (share of wrong answers) or ``"loss"``.
        value: To reach or fall below.
    """

    metric: Metric
    value: float


@dataclass(frozen=True)
class Setting:
    """What all trials of a section share.

    Attributes:
        problem: Data set.
        network: Network's name.
        epochs: Length of a reporting trial, in passes over the training images.
        tuning_epochs: Length of a tuning trial.
        evaluations: Evaluations per epoch, evenly spread.
        target: What to reach.
        fisher: Where the backpropagated vectors come from.
        statistics_every: Steps between statistics.
        inverses_every: Steps between inverses.
        averaging: Timescale of iterate averaging in epochs, for all optimizers alike; None to evaluate the iterate.
        initial_examples: Training images that first statistics are taken from; None for all, as in Algorithm 1.
        layout: In which order networks keep the numbers of their weights and maps.
        device: ``"cpu"`` or ``"cuda"``.
    """

    problem: str
    network: str
    epochs: float
    tuning_epochs: float
    evaluations: int
    target: Target
    fisher: str
    statistics_every: int
    inverses_every: int
    averaging: float | None
    initial_examples: int | None
    layout: Layout
    device: str


@dataclass(frozen=True)
class TrialCase(Case):
    """A trial.

    Attributes:
        setting: What it shares with the others.
        optimizer: A key of `OPTIMIZERS`.
        hyperparameters: Its own.
        clip: C of the natural gradient's clipping; None for none.
        initialize: Whether natural gradient takes its statistics from the full training set at first.
        steps: Its length, by its role's epochs and its batch.
        role: ``"tuning"`` (validation data) or ``"report"`` (test data, seeds that tuning never saw).
        trial: Number among the optimizer's trials of this role, from 0.
        seed: Of initialisation, order of the data and sampled labels.
        on_edge: For a report, whether the winner still lies on the edge of what was tried; None where nothing was.
        timeout_s: Seconds without a sign of life before the trial is given up.
    """

    setting: Setting
    optimizer: str
    hyperparameters: Hyperparameters
    clip: float | None
    initialize: bool
    steps: int
    role: Role
    trial: int
    seed: int
    on_edge: bool | None
    timeout_s: float
    memory_limit_bytes: int | None = None
    experiment: str = field(default="convergence", init=False)

    def parameters(self) -> dict[str, Any]:
        """Return the setting, the optimizer and its hyperparameters, the role and the seed."""
        return {
            **asdict(self.setting),
            "optimizer": self.optimizer,
            "hyperparameters": asdict(self.hyperparameters),
            "clip": self.clip,
            "initialize": self.initialize,
            "steps": self.steps,
            "role": self.role,
            "seed": self.seed,
        }

    def columns(self) -> dict[str, Any]:
        """Return the identifying columns of the record."""
        return {
            "device": self.setting.device,
            "problem": self.setting.problem,
            "network": self.setting.network,
            "optimizer": self.optimizer,
            "role": self.role,
            "trial": self.trial,
            "seed": self.seed,
            "steps": self.steps,
            "clip": self.clip,
            "averaging": self.setting.averaging,
            **asdict(self.hyperparameters),
            "on_edge": self.on_edge if self.role == "report" else None,
            "target_metric": self.setting.target.metric,
            "target_value": self.setting.target.value,
        }

    @property
    def group(self) -> str:
        """Each trial runs by itself."""
        return f"{self.role} {self.optimizer} {self.case_id}"

    @property
    def label(self) -> str:
        """For the progress bar."""
        values = self.hyperparameters
        damping = "" if values.damping is None else f" damping {values.damping:.3g}"
        return f"{self.role} {self.optimizer} lr {values.lr:.3g}{damping}, seed {self.seed}"
