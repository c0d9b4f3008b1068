"""A network, one batch, and an optimizer whose whole steps on it are profiled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kfc_bench.experiments.cost.case import SGD
from kfc_bench.experiments.profile.case import ProfileCase
from kfc_bench.measure.clock import clock_for
from kfc_bench.measure.passes import marked_passes
from kfc_bench.measure.trial import quickest
from kfc_bench.optim import NaturalGradient
from kfc_bench.spans import Listener, listening, span

LR = 1e-3
SECONDS_OF_TRIALS = 4.0
NEVER = 10**9


@dataclass(frozen=True)
class Layout:
    """How a network's tensors lie in memory, and how SGD goes through them.

    Attributes:
        channels_last: Whether images and weights are channels-last.
        flag: Of ``torch.optim.SGD``: ``"foreach"`` or ``"fused"``.
    """

    channels_last: bool = False
    flag: str = "foreach"

    @property
    def name(self) -> str:
        """Name of the memory format."""
        return "channels_last" if self.channels_last else "contiguous"


LAYOUTS = tuple(Layout(channels_last, flag) for flag in ("foreach", "fused") for channels_last in (False, True))


def take_step(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    images: Tensor,
    labels: Tensor,
    *,
    statistics: bool,
    inverses: bool,
) -> None:
    """Take one step, its phases marked.

    Args:
        model: The network.
        optimizer: SGD, or natural gradient.
        images: ``[N, *]``.
        labels: ``[N]``.
        statistics: Whether natural gradient gathers statistics in it.
        inverses: Whether it refreshes its inverses.
    """
    natural = optimizer if isinstance(optimizer, NaturalGradient) else None
    if natural is not None:
        natural.request(statistics=statistics, inverses=inverses)
    with span("update"):
        optimizer.zero_grad()
    with span("forward"):
        logits = model(images)
    with span("loss"):
        loss = functional.cross_entropy(logits, labels)
    if natural is not None:
        natural.backward(loss, logits)
    else:
        with span("backward"):
            loss.backward()
    with span("release"):
        del loss, logits
    with span("update"):
        optimizer.step()


class Training:
    """Steps on one drawn batch, from weights and images that are the same each time.

    Args:
        case: The case.
        layout: The memory format.
    """

    def __init__(self, case: ProfileCase, layout: Layout) -> None:
        entry = case.find()
        form = torch.channels_last if layout.channels_last else torch.contiguous_format
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = entry.build()
        self.model = model.to(case.device, case.torch_dtype)
        images = torch.randn(case.batch, *entry.input_shape, generator=generator).to(case.device, case.torch_dtype)
        if images.ndim == 4:
            self.model.to(memory_format=form)  # type: ignore[call-overload]
            images = images.to(memory_format=form)
        self._images = images
        self._labels = torch.randint(entry.classes, (case.batch,), generator=generator).to(case.device)
        self.optimizer: torch.optim.SGD
        if case.is_sgd:
            flags: dict[str, Any] = {layout.flag: True}
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=0.9, **flags)
        else:
            self.optimizer = NaturalGradient(
                self.model,
                LR,
                approximation=case.approximation,
                damping=case.damping,
                fisher=case.fisher,
                statistics_every=NEVER,
                inverses_every=NEVER,
                clip=case.clip,
            )

    def step(self, *, statistics: bool = False, inverses: bool = False) -> None:
        """Take one step.

        Args:
            statistics: Whether natural gradient gathers statistics in it.
            inverses: Whether it refreshes its inverses.
        """
        take_step(self.model, self.optimizer, self._images, self._labels, statistics=statistics, inverses=inverses)

    def stepper(self, *, statistics: bool, inverses: bool) -> Callable[[], None]:
        """Return a call that takes such a step."""
        return lambda: self.step(statistics=statistics, inverses=inverses)

    def weights(self) -> list[Tensor]:
        """Return copies of the parameters and buffers."""
        return [value.detach().clone() for value in (*self.model.parameters(), *self.model.buffers())]

    @contextmanager
    def marked(self, listener: Listener) -> Any:
        """Tell a listener of the spans inside, and of the network's passes by module."""
        with listening(listener), marked_passes(self.model, listener):
            yield


def best_layout(case: ProfileCase) -> Layout:
    """Choose the memory format, and SGD's own variant, by whose SGD step on the case's batch is the fastest.

    Args:
        case: The case.

    Returns:
        The layout.
    """
    return _best_layout(replace(case, approximation=SGD, clip=None))


@cache
def _best_layout(case: ProfileCase) -> Layout:
    layouts = [layout for layout in LAYOUTS if not layout.channels_last or len(case.find().input_shape) == 3]
    steps = [Training(case, layout).step for layout in layouts]
    return layouts[quickest(steps, clock_for(case.device, held=False), SECONDS_OF_TRIALS)]
