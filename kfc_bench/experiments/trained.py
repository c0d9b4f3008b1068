"""Networks as plain SGD leaves them after some epochs, for experiments that look at a trained network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import torch
from torch import nn
from torch.nn import functional

from kfc_bench.experiments.batches import batches
from kfc_bench.problems.datasets import PROBLEMS
from kfc_bench.problems.images import ImageData, Split
from kfc_bench.problems.networks import NETWORKS

EVALUATED = 1000
"""Examples in a batch of an evaluation."""


@dataclass(frozen=True)
class Training:
    """SGD with momentum at a constant rate.

    Attributes:
        problem: A key of `PROBLEMS`.
        network: A key of `NETWORKS`.
        batch: Examples per step.
        lr: Learning rate.
        momentum: mu.
        seed: Of initialisation and of the order of the data.
        device: ``"cpu"`` or ``"cuda"``.
    """

    problem: str
    network: str
    batch: int
    lr: float
    momentum: float
    seed: int
    device: str


@cache
def problem_data(problem: str, device: str) -> ImageData:
    """Load a problem's data once per process.

    Args:
        problem: A key of `PROBLEMS`.
        device: Where it goes.

    Returns:
        The data.
    """
    return PROBLEMS[problem].load().to(device)


def fresh_network(network: str, seed: int, device: str) -> nn.Module:
    """Build a network whose initialisation is the seed's, whatever was drawn before.

    Args:
        network: A key of `NETWORKS`.
        seed: Of the initialisation.
        device: Where it goes.

    Returns:
        The network, in training mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[network].build().to(device)


def trained(training: Training, epochs: Sequence[float]) -> Iterator[tuple[float, nn.Module]]:
    """Train a network, and stop on the way.

    Args:
        training: How.
        epochs: Passes over the training images at which to stop, ascending; 0 is the network as initialised.

    Yields:
        Each stop and the network there, in evaluation mode; it is trained further once the next is asked for.

    Raises:
        FloatingPointError: The loss is no number any more.
    """
    data = problem_data(training.problem, training.device)
    model = fresh_network(training.network, training.seed, training.device)
    sgd = torch.optim.SGD(model.parameters(), lr=training.lr, momentum=training.momentum)
    stream = batches(data.train, training.batch, training.seed)
    per_epoch, done = len(data.train.labels) // training.batch, 0
    for epoch in epochs:
        model.train()
        upto = round(epoch * per_epoch)
        for images, labels in islice(stream, upto - done):
            sgd.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            sgd.step()
            if not torch.isfinite(loss.detach()):
                raise FloatingPointError(f"the loss of {training.network} is {float(loss)} with lr {training.lr:g}")
        done = upto
        yield epoch, model.eval()


@torch.no_grad()
def evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """Evaluate a network in evaluation mode, and leave it in the mode that it was in.

    Args:
        model: The network.
        split: Images and labels.

    Returns:
        Mean cross-entropy in nats, and the share of wrong answers.
    """
    was_training = model.training
    model.eval()
    loss, wrong = 0.0, 0
    for images, labels in zip(split.images.split(EVALUATED), split.labels.split(EVALUATED), strict=True):
        logits = model(images)
        loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
        wrong += int((logits.argmax(1) != labels).sum())
    model.train(was_training)
    return loss / len(split.labels), wrong / len(split.labels)
