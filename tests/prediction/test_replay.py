import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from kfc_bench.measure.memory import peak_memory
from kfc_bench.optim import NaturalGradient
from kfc_bench.prediction.amounts import UNITS, by_part, counted
from kfc_bench.prediction.replay import Step, replay
from kfc_bench.problems.networks import NETWORKS, Network

ROOT = Path(__file__).parents[2]
TOLERANCE = 0.15
"""What is asked of the median; most steps agree to the byte."""


class Real:
    """The steps that are replayed, with numbers."""

    def __init__(self, network, step):
        layout = torch.channels_last if step.channels_last else torch.contiguous_format
        self.model = network.build().to(memory_format=layout)
        self.images = torch.randn(step.batch, *network.input_shape).to(memory_format=layout)
        self.labels = torch.zeros(step.batch, dtype=torch.int64)
        self.sgd = step.approximation == "sgd"
        if self.sgd:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        else:
            never = 10**9
            self.optimizer = NaturalGradient(
                self.model,
                1e-3,
                approximation=step.approximation,
                damping=1e-3,
                statistics_every=never,
                inverses_every=never,
                clip=step.clip,
            )

    def take(self):
        if not self.sgd:
            self.optimizer.request(statistics=True, inverses=True)
        self.optimizer.zero_grad()
        logits = self.model(self.images)
        loss = functional.cross_entropy(logits, self.labels)
        if self.sgd:
            loss.backward()
        else:
            self.optimizer.backward(loss, logits)
        del loss, logits
        self.optimizer.step()


def allocated(real):
    """Measure the peak of a step, what other tests left to the garbage collector gone: its end would count."""
    gc.collect()
    return peak_memory(real.take, "cpu")[0].allocator_bytes


@pytest.mark.parametrize(
    ("network", "step"),
    [
        ("digits", Step("sgd", 32)),
        ("digits", Step("sgd", 32, channels_last=True)),
        ("digits", Step("kfc", 32, 0.3)),
        ("digits", Step("ekfac", 16, channels_last=True)),
        ("digits", Step("diagonal", 32)),
        ("cifar10", Step("sgd", 16)),
        ("cifar10", Step("kfc", 16, channels_last=True)),
        ("resnet20", Step("kfc", 2, channels_last=True)),
        ("resnet18", Step("sgd", 4)),
    ],
    ids=str,
)
def test_memory_agrees_with_what_a_step_allocates(network, step):
    real = Real(NETWORKS[network], step)
    real.take()
    measured = allocated(real)
    assert replay(NETWORKS[network], step).step_bytes == pytest.approx(measured, rel=TOLERANCE)


BOTH = """
from kfc_bench.prediction.replay import Step, replay
from kfc_bench.problems.networks import NETWORKS
from tests.prediction.test_replay import Real, allocated

step = Step("kfc", 64)
real = Real(NETWORKS["digits"], step)
real.take()
print(allocated(real), replay(NETWORKS["digits"], step).step_bytes)
"""


def test_small_networks_agree_to_a_thousandth():
    """In a process of its own, where no other test's memory comes to its end meanwhile."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.check_output([sys.executable, "-c", BOTH], cwd=ROOT, env=environment, text=True)
    measured, predicted = map(int, told.split())
    assert predicted == pytest.approx(measured, rel=1e-3)


def test_the_operators_tables_hold_numbers_afterwards():
    step = Step("kfc_reduce", 4)
    replay(NETWORKS["digits"], step)
    real = Real(NETWORKS["digits"], step)
    real.take()
    assert all(bool(parameter.isfinite().all()) for parameter in real.model.parameters())


def test_random_numbers_are_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    replay(NETWORKS["digits"], Step("kfc", 4))
    assert torch.equal(torch.rand(1), expected)


def test_a_batch_that_no_machine_holds_is_gone_through():
    gone = replay(NETWORKS["digits"], Step("sgd", 2**40))
    assert gone.peak_bytes > 2**40 * 64 * 4
    small, large = (replay(NETWORKS["digits"], Step("kfc", batch)).peak_bytes for batch in (64, 128))
    assert small < large < 2 * small


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.shared(self.shared(x).relu()))


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.mixed, self.head = nn.Conv1d(2, 4, 3), nn.Linear(6, 5), nn.Linear(20, 3)

    def forward(self, x):
        return self.head(self.mixed(self.conv(x)).flatten(1))


def flops(work, phase, layer):
    """Add up a part's FLOPs."""
    amounts = counted(work[phase, layer])
    return sum(amount for (_, unit), amount in zip(UNITS, amounts, strict=True) if unit == "flop")


def test_a_module_that_runs_twice_works_twice():
    gone = replay(Network(Twice, (6,), 3), Step("kfc", 8))
    assert flops(gone.plain, "forward", "shared") == 2 * (2 * 8 * 6 * 6)
    assert flops(gone.plain, "forward", "head") == 2 * 8 * 6 * 3


def test_other_axes_and_dimensions():
    gone = replay(Network(Sequences, (2, 8), 3), Step("kfc", 8))
    # Channels are filled up to blocks of 8.
    assert flops(gone.plain, "forward", "conv") == 2 * 8 * 6 * 8 * 8 * 3
    assert flops(gone.plain, "forward", "mixed") == 2 * 8 * 4 * 6 * 5
    assert {phase for (phase, _), often in by_part(gone).items() if often.of_inverses} == {"inverse"}


def test_what_statistics_and_inverses_add_is_spread_over_their_periods():
    parts = by_part(replay(NETWORKS["digits"], Step("kfc", 8)))
    factor, forward = parts["input factor", "conv1"], parts["forward", "conv1"]
    assert not factor.always.any()
    assert factor.per_step(1, 5) == pytest.approx(10 * factor.per_step(10, 7))
    assert forward.always[UNITS.index(("convolution", "call"))] == 1
    assert forward.seldom[UNITS.index(("convolution", "call"))] == 0
    (inverse,) = (often for (phase, _), often in parts.items() if phase == "inverse")
    assert inverse.per_step(7, 1) == pytest.approx(20 * inverse.per_step(3, 20))


def test_sgd_has_neither():
    assert not any(often.seldom.any() for often in by_part(replay(NETWORKS["digits"], Step("sgd", 8))).values())
