"""A training step gone through without a number computed: the real optimizer, on tensors that have shapes only."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from kfc_bench.experiments.profile.training import take_step
from kfc_bench.measure.passes import marked_passes
from kfc_bench.optim import NaturalGradient
from kfc_bench.prediction.ledger import Ledger
from kfc_bench.prediction.operations import Operation
from kfc_bench.problems.networks import Network
from kfc_bench.spans import Key, listening

SGD = "sgd"
LR, DAMPING = 1e-3, 1e-3
NEVER = 10**9

Work = dict[Key, list[Operation]]
"""Operations by phase and layer."""


@dataclass(frozen=True)
class Step:
    """What is asked about.

    Attributes:
        approximation: A key of `kfc_bench.curvature.APPROXIMATIONS`, or ``"sgd"``.
        batch: Examples N.
        clip: The limit of v^T F v; None for no clipping.
        channels_last: Memory format of network and images.
    """

    approximation: str
    batch: int
    clip: float | None = None
    channels_last: bool = False


@dataclass(frozen=True)
class Replay:
    """What a step holds and does.

    Attributes:
        held_bytes: Between two steps: parameters, gradients, momentum, statistics, inverses, the batch.
        peak_bytes: The most that a step with statistics and inverses holds, all that is held before it included.
        step_bytes: The most that such a step holds of what it has allocated itself.
        full: By phase and layer, the operations of a step with statistics and inverses.
        plain: Those of a step with neither.
    """

    held_bytes: int
    peak_bytes: int
    step_bytes: int
    full: Work
    plain: Work


@contextmanager
def _own_tables() -> Iterator[None]:
    """Keep the operators' tables, which they make once and keep, from holding tensors without numbers."""
    _forget_tables()
    try:
        yield
    finally:
        _forget_tables()


def _forget_tables() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("kfc_kernels."):
            for value in list(vars(module).values()):
                clear = getattr(value, "cache_clear", None)
                if clear is not None:
                    clear()


def replay(network: Network, step: Step, kind: str = "cpu") -> Replay:
    """Go through the steps of a training.

    The operators' implementations are those that ``"auto"`` takes on a CPU.

    Args:
        network: The network.
        step: Optimizer, batch and so on.
        kind: Of the device whose memory is counted, ``"cpu"`` or ``"cuda"``.

    Returns:
        What the steps hold and do.

    Raises:
        Exception: Whatever the network or the optimizer raises for these shapes.
    """
    ledger = Ledger(kind)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(_own_tables())
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(ledger)
        training = _Training(network, step)
        stack.enter_context(listening(ledger))
        stack.enter_context(marked_passes(training.model, ledger))
        training.take(full=True)
        peak = ledger.peak
        full = _gone_through(training, ledger, full=True)
        peak, fresh = max(peak, ledger.peak), ledger.fresh_peak
        plain = full if step.approximation == SGD else _gone_through(training, ledger, full=False)
        held = ledger.held
        # What is let go of with the network belongs to no step.
        del training
    return Replay(held, peak, fresh, full, plain)


def _gone_through(training: _Training, ledger: Ledger, *, full: bool) -> Work:
    ledger.begin()
    training.take(full=full)
    return dict(ledger.work)


def _channels_last(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


class _Training:
    """A network, a batch, and an optimizer that takes steps on it."""

    def __init__(self, network: Network, step: Step) -> None:
        self.model = network.build()
        self._images = torch.empty(step.batch, *network.input_shape)
        self._labels = torch.empty(step.batch, dtype=torch.int64)
        if step.channels_last:
            for parameter in self.model.parameters():
                parameter.data = _channels_last(parameter.data)
            self._images = _channels_last(self._images)
        self._optimizer: torch.optim.SGD
        if step.approximation == SGD:
            self._optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=0.9)
        else:
            self._optimizer = NaturalGradient(
                self.model,
                LR,
                approximation=step.approximation,
                damping=DAMPING,
                statistics_every=NEVER,
                inverses_every=NEVER,
                clip=step.clip,
            )

    def take(self, *, full: bool) -> None:
        """Take one step, with statistics and inverses or without both."""
        take_step(self.model, self._optimizer, self._images, self._labels, statistics=full, inverses=full)
