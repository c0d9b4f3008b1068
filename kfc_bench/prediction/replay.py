"""A training step gone through without a number computed: the real optimizer, on tensors that have shapes only."""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from kfc_bench.optim import NaturalGradient
from kfc_bench.prediction.ledger import Ledger
from kfc_bench.prediction.operations import Operation
from kfc_bench.problems.networks import Network
from kfc_bench.spans import Key, listening, span

SGD = "sgd"
LR, DAMPING = 1e-3, 1e-3
NEVER = 10**9

ONCE_PER_INVERSES = ("inverse",)


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
        peak_bytes: At the peak of the first step, which has statistics and inverses, all that is held included.
        later_peak_bytes: The same of a later step, in which the old inverses are still held while new ones form.
        every: By phase and layer, the operations of each step.
        statistics: Those that statistics add to a step.
        inverses: Those that inverses add.
    """

    held_bytes: int
    peak_bytes: int
    later_peak_bytes: int
    every: dict[Key, list[Operation]]
    statistics: dict[Key, list[Operation]]
    inverses: dict[Key, list[Operation]]


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


def _watch(model: nn.Module, ledger: Ledger) -> None:
    """Tell the ledger which layer runs forward, and which nodes of the graph it makes."""
    begun: list[int] = []

    def before(module: nn.Module, _: Any, name: str) -> None:  # noqa: ARG001
        begun.append(ledger.sequences.now())
        if ledger.current[0] == "forward":
            ledger.enter("forward", name)

    def after(module: nn.Module, _: Any, output: Any, name: str) -> None:  # noqa: ARG001
        ledger.sequences.mark(begun.pop(), name)
        if ledger.current == ("forward", name):
            ledger.leave()

    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_pre_hook(lambda module, args, name=name: before(module, args, name))
            module.register_forward_hook(lambda module, args, output, name=name: after(module, args, output, name))


def replay(network: Network, step: Step) -> Replay:
    """Go through the steps of a training.

    The operators' implementations are those that ``"auto"`` takes on a CPU.

    Args:
        network: The network.
        step: Optimizer, batch and so on.

    Returns:
        What the steps hold and do.

    Raises:
        Exception: Whatever the network or the optimizer raises for these shapes.
    """
    ledger = Ledger()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(_own_tables())
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(ledger)
        stack.enter_context(listening(ledger))
        take = _training(network, step, ledger)
        take(True)
        first, held = ledger.peak, ledger.held
        if step.approximation == SGD:
            ledger.begin()
            take(False)
            return Replay(ledger.held, first, ledger.peak, dict(ledger.work), {}, {})
        ledger.begin()
        take(True)
        full, later, held = ledger.work, ledger.peak, ledger.held
        ledger.begin()
        take(False)
        every = dict(ledger.work)
    statistics: dict[Key, list[Operation]] = {}
    inverses: dict[Key, list[Operation]] = {}
    for key, operations in full.items():
        if key not in every:
            (inverses if key[0] in ONCE_PER_INVERSES else statistics)[key] = operations
        elif len(operations) > len(every[key]):
            # What a phase does more of where statistics are due comes before what it always does.
            statistics[key] = operations[: len(operations) - len(every[key])]
    return Replay(held, first, later, every, statistics, inverses)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _training(network: Network, step: Step, ledger: Ledger) -> Any:
    """Build network, batch and optimizer, and return what takes one step."""
    model = network.build()
    images = torch.empty(step.batch, *network.input_shape)
    if step.channels_last:
        for parameter in model.parameters():
            parameter.data = _channels_last(parameter.data)
        images = _channels_last(images)
    labels = torch.empty(step.batch, dtype=torch.int64)
    optimizer: Any
    if step.approximation == SGD:
        optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    else:
        optimizer = NaturalGradient(
            model,
            LR,
            approximation=step.approximation,
            damping=DAMPING,
            statistics_every=NEVER,
            inverses_every=NEVER,
            clip=step.clip,
        )
    _watch(model, ledger)

    def take(full: bool) -> None:
        if step.approximation != SGD:
            optimizer.request(statistics=full, inverses=full)
        with span("update"):
            optimizer.zero_grad()
        with span("forward"):
            logits = model(images)
            loss = functional.cross_entropy(logits, labels)
        if step.approximation == SGD:
            with span("backward"):
                loss.backward()
            with span("update"):
                optimizer.step()
        else:
            optimizer.backward(loss, logits)
            optimizer.step()

    return take
