"""The factors that a training run inverts: captured at every refresh of its inverses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from kfc_bench.curvature.damping import factored_tikhonov
from kfc_bench.optim import NaturalGradient
from kfc_bench.problems.digits import digits
from kfc_bench.problems.networks import NETWORKS

FACTORS = ("input_factor", "output_factor")


@dataclass(frozen=True)
class Training:
    """A run of KFC on the digits.

    Attributes:
        network: Network's name.
        batch: Examples per step.
        steps: Steps, the last of which refreshes too where its turn has come.
        lr: Learning rate.
        damping: lambda + gamma of the run itself.
        statistics_every: Steps between statistics.
        inverses_every: Steps between inverses.
        seed: Of initialisation, batches and sampled labels.
    """

    network: str
    batch: int
    steps: int
    lr: float
    damping: float
    statistics_every: int
    inverses_every: int
    seed: int

    @property
    def refreshes(self) -> range:
        """The steps at which inverses are due."""
        return range(0, self.steps, self.inverses_every)


@lru_cache(maxsize=1)
def captured(training: Training, device: str) -> dict[int, list[list[Tensor]]]:
    """Train, and copy the running averages at every refresh.

    Args:
        training: The run.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        By step, for each layer Omega and Gamma.
    """
    data = digits().to(device).train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = NETWORKS[training.network].build().to(device)
    optimizer = NaturalGradient(
        model,
        training.lr,
        damping=training.damping,
        statistics_every=training.statistics_every,
        inverses_every=training.inverses_every,
        seed=training.seed,
    )
    generator = torch.Generator().manual_seed(training.seed)
    factors = {}
    for step in range(training.steps):
        chosen = torch.randint(len(data.labels), (training.batch,), generator=generator).to(device)
        optimizer.zero_grad()
        logits = model(data.images[chosen])
        optimizer.backward(functional.cross_entropy(logits, data.labels[chosen]), logits)
        optimizer.step()
        if step in training.refreshes:
            factors[step] = [[factor.clone() for factor in layer] for layer in optimizer.curvature.statistics]
    return factors


def damped_factor(
    training: Training, device: str, *, step: int, layer: int, factor: str, damping: float
) -> tuple[Tensor, Tensor]:
    """Return a captured factor and its shift (Eqs. 20-21).

    Args:
        training: The run.
        device: ``"cpu"`` or ``"cuda"``.
        step: One of its refreshes.
        layer: Place in the network.
        factor: One of `FACTORS`.
        damping: lambda + gamma, which need not be the run's own.

    Returns:
        The factor ``[n, n]`` and a scalar.
    """
    pair = captured(training, device)[step][layer]
    shifts = factored_tikhonov(pair[0], pair[1], damping)
    place = FACTORS.index(factor)
    return pair[place], shifts[place]
