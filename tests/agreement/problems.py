"""Networks with real images, and what a user of `NaturalGradient` sees of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from kfc_bench.optim import NaturalGradient
from kfc_bench.problems.digits import digits
from kfc_bench.problems.networks import NETWORKS

CLASSES = 10


def mixed(bias=True):
    """Padding, strides, pooling, kernels that are no squares, and a convolution of one output position."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), bias=bias),
        nn.ReLU(),
        nn.Conv2d(6, 7, 2, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(7, 5, bias=bias),
        nn.ReLU(),
        nn.Linear(5, CLASSES, bias=bias),
    )


def digit_images(batch):
    train = digits().train
    return train.images[:batch].double(), train.labels[:batch]


def drawn_images(batch):
    images = torch.randn(batch, *NETWORKS["cifar10"].input_shape, generator=torch.Generator().manual_seed(0))
    return images.double(), torch.arange(batch)


@dataclass(frozen=True)
class Case:
    """A network, its images and its loss.

    With the square loss, ours is half the squared distance, which `torch.nn.MSELoss`, averaging over outputs too, is
    2/C times (``mse``).
    """

    network: Callable[[], nn.Module]
    images: Callable[[int], tuple[Tensor, Tensor]] = digit_images
    batch: int = 12
    square: bool = False

    @property
    def mse(self):
        return 2 / CLASSES if self.square else 1.0

    def build(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.network()
        images, labels = self.images(self.batch)
        targets = functional.one_hot(labels, CLASSES).to(images) if self.square else labels
        return Problem(self, model, images, targets)


@dataclass(frozen=True)
class Problem:
    """A case built: the network is nobody's to change, each library and ours get a copy."""

    case: Case
    network: nn.Module
    images: Tensor
    targets: Tensor

    def copy(self):
        return copy.deepcopy(self.network)

    def layers(self):
        return {name: layer for name, layer in self.network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}

    def positions(self):
        """Count each layer's output positions |T|, off its output."""
        found, model = {}, self.copy()
        for name in self.layers():
            model.get_submodule(name).register_forward_hook(
                lambda _, __, output, name=name: found.update({name: output[0, 0].numel()})
            )
        model(self.images)
        return found

    def loss(self, logits, targets):
        if self.case.square:
            return (logits - targets).square().sum(1).mean() / 2
        return functional.cross_entropy(logits, targets)

    def gradients(self):
        """Return the gradient of our loss, by parameter."""
        model = self.copy()
        self.loss(model(self.images), self.targets).backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    def optimizer(self, model, **options):
        likelihood = "gaussian" if self.case.square else "categorical"
        return NaturalGradient(model, likelihood=likelihood, fisher="type2", **{"lr": 1.0, **options})

    def step(self, **options):
        """Take one step as a user does.

        Returns:
            The statistics by layer, and the natural gradient by parameter: what the momentum starts from.
        """
        model = self.copy()
        optimizer = self.optimizer(model, **options)
        logits = model(self.images)
        optimizer.backward(self.loss(logits, self.targets), logits)
        optimizer.step()
        natural = {name: optimizer.state[p]["momentum_buffer"] for name, p in model.named_parameters()}
        return dict(zip(self.layers(), optimizer.curvature.statistics, strict=True)), natural

    def statistics_of_halves(self):
        """Observe the two halves of the batch one after the other, the parameters held still."""
        model = self.copy()
        optimizer = self.optimizer(model, lr=0.0, statistics_every=1)
        half = len(self.images) // 2
        for start, end in pairwise((0, half, 2 * half)):
            logits = model(self.images[start:end])
            optimizer.backward(self.loss(logits, self.targets[start:end]), logits)
            optimizer.step()
        return dict(zip(self.layers(), optimizer.curvature.statistics, strict=True))


CASES = {
    "mixed": Case(mixed),
    "mixed without biases": Case(lambda: mixed(bias=False)),
    "mixed, square loss": Case(mixed, square=True),
    "digits": Case(NETWORKS["digits"].build, batch=32),
    "cifar10": Case(NETWORKS["cifar10"].build, drawn_images, batch=4),
}


def assert_agrees(found, expected, tolerance):
    """Hold the norm of the difference to the norm: entries that cancel have no digits of their own."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == torch.float64
    error = ((found - expected).norm() / expected.norm()).item()
    assert error <= tolerance, f"differs by {error:.1e} of its norm"
