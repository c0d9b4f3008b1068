"""A module that runs several times in one forward pass: the gradients of its runs add, cross terms included."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from kfc_bench.curvature.layers import UnsupportedLayerError
from kfc_bench.curvature.likelihoods import type2_vectors
from tests.curvature.autodiff import TIGHT, blocks, fisher, normal, see, seeded, statistics
from tests.curvature.nets import diagonal_blocks


class Recurrent(nn.Module):
    """A module whose output is its next input."""

    def __init__(self, inner: nn.Module, features: int, calls: int = 2) -> None:
        super().__init__()
        self.inner = inner
        self.head = nn.Linear(features, 3)
        self.calls = calls

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.calls):
            x = self.inner(x).tanh()
        return self.head(x.flatten(1))


class Siamese(nn.Module):
    """A module that runs on each part of its input."""

    def __init__(self, inner: nn.Module, features: int) -> None:
        super().__init__()
        self.inner = inner
        self.head = nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.inner(part).tanh().flatten(1) for part in x.unbind(1)], dim=1))


@dataclass(frozen=True)
class Case:
    id: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def build(self) -> nn.Module:
        return seeded(self.model)


CASES = [
    Case("linear", lambda: Recurrent(nn.Linear(3, 3), 3), (3,)),
    Case("linear-no-bias", lambda: Recurrent(nn.Linear(3, 3, bias=False), 3), (3,)),
    Case("linear-three", lambda: Recurrent(nn.Linear(3, 3), 3, calls=3), (3,)),
    Case("linear-positions", lambda: Recurrent(nn.Linear(3, 3), 6), (2, 3)),
    Case("linear-siamese", lambda: Siamese(nn.Linear(3, 2), 4), (2, 3)),
    Case("conv1d", lambda: Recurrent(nn.Conv1d(2, 2, 3, padding=1), 8), (2, 4)),
    Case("conv1d-same", lambda: Recurrent(nn.Conv1d(2, 2, 3, padding="same", bias=False), 8), (2, 4)),
    Case("conv2d", lambda: Siamese(nn.Conv2d(2, 2, 3, padding=1, stride=2), 16), (2, 2, 4, 3)),
    Case("conv2d-uneven", lambda: Siamese(nn.Conv2d(1, 2, (3, 2), padding=(2, 0), stride=(2, 1)), 24), (2, 1, 4, 3)),
    Case("conv2d-pixel", lambda: Recurrent(nn.Conv2d(2, 2, 1), 8), (2, 2, 2)),
    Case(
        "conv2d-circular",
        lambda: Siamese(nn.Conv2d(1, 2, 2, padding=1, padding_mode="circular", bias=False), 24),
        (2, 1, 2, 1),
    ),
    Case(
        "conv2d-reflect",
        lambda: Recurrent(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), 4),
        (1, 2, 2),
    ),
    Case("conv3d", lambda: Siamese(nn.Conv3d(1, 2, 2, padding=(1, 0, 0)), 12), (2, 1, 2, 2, 2)),
]
LAYER_NORM = Case("layer-norm", lambda: Recurrent(nn.LayerNorm(3), 6), (2, 3))
GROUPS = Case("groups", lambda: Siamese(nn.Conv1d(4, 2, 2, groups=2), 8), (2, 4, 3))
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
APPROXIMATIONS = ["kfc", "kfc_reduce", "kfc_eigen", "ekfac", "sua", "prong", "diagonal", "mini_block", "block_diagonal"]


@pytest.mark.parametrize("case", [*CASES, LAYER_NORM, GROUPS], ids=lambda case: case.id)
def test_the_exact_fisher(case):
    model, x = case.build(), normal(3, *case.shape)
    assert_close(see(model, x, "exact").curvature.statistics[0][0], fisher(model, x)[0], **TIGHT)


@pytest.mark.parametrize("case", [*CASES, LAYER_NORM], ids=lambda case: case.id)
def test_the_block(case):
    model, x = case.build(), normal(3, *case.shape)
    (block,) = statistics(see(model, x, "block_diagonal"), model)["inner"]
    assert_close(block, blocks(model, x)["inner"], **TIGHT)


def test_the_blocks_of_groups():
    model, x = GROUPS.build(), normal(3, *GROUPS.shape)
    (found,) = statistics(see(model, x, "block_diagonal"), model)["inner"]
    block = blocks(model, x)["inner"]
    assert_close(found, torch.stack(diagonal_blocks(block, [len(block) // 2] * 2)), **TIGHT)


@pytest.mark.parametrize("case", [*CASES, LAYER_NORM, GROUPS], ids=lambda case: case.id)
def test_the_diagonal(case):
    model, x = case.build(), normal(3, *case.shape)
    (diagonal,) = statistics(see(model, x, "diagonal"), model)["inner"]
    assert_close(diagonal.flatten(), blocks(model, x)["inner"].diagonal(), **TIGHT)


@every_case
def test_the_mini_blocks(case):
    model, x = case.build(), normal(3, *case.shape)
    weight = model.inner.weight
    found = statistics(see(model, x, "mini_block"), model)["inner"]
    rows = diagonal_blocks(
        blocks(model, x)["inner"], [len(model.inner.weight[0].flatten()) + has_bias(model)] * len(weight)
    )
    if weight[0, 0].numel() == 1:
        assert_close(found, [torch.stack(rows).mean(0)], **TIGHT)
        return
    channels, elements = weight.shape[1], weight[0, 0].numel()
    kernels = [
        torch.stack(diagonal_blocks(row[: channels * elements, : channels * elements], [elements] * channels))
        for row in rows
    ]
    biases = [torch.stack([row[-1, -1] for row in rows])] if has_bias(model) else []
    assert_close(found, [torch.stack(kernels), *biases], **TIGHT)


def has_bias(model):
    return model.inner.bias is not None


def runs(model, x):
    """Return the inputs of each run, and the gradients of its output, by a forward pass of their own."""
    kept = []
    handle = model.inner.register_forward_hook(lambda _, inputs, output: kept.append((inputs[0], output)))
    outputs = model(x)
    handle.remove()
    vectors = type2_vectors(outputs.detach(), "categorical")
    gradients = [
        torch.autograd.grad(outputs, [out for _, out in kept], vector, retain_graph=True) for vector in vectors
    ]
    return [
        (value.detach(), torch.stack(call)) for (value, _), call in zip(kept, zip(*gradients, strict=True), strict=True)
    ]


def patches(module, inputs):
    """Return each position's patch, ``[N * T, D]``, the loop over positions written out."""
    if isinstance(module, nn.Linear):
        rows = inputs.flatten(0, -2)
    else:
        sides = [side for amount in reversed(padding(module)) for side in amount]
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        padded = functional.pad(inputs, sides, mode=mode)
        starts = [
            range(0, size - kernel + 1, stride)
            for size, kernel, stride in zip(padded.shape[2:], module.kernel_size, module.stride, strict=True)
        ]
        found = []
        for corner in product(*starts):
            window = padded
            for axis, (start, kernel) in enumerate(zip(corner, module.kernel_size, strict=True), start=2):
                window = window.narrow(axis, start, kernel)
            found.append(window.flatten(1))
        rows = torch.cat(found)
    return torch.cat([rows, torch.ones(len(rows), 1).double()], 1) if module.bias is not None else rows


def padding(module):
    if module.padding == "same":
        return [((size - 1) // 2, size - 1 - (size - 1) // 2) for size in module.kernel_size]
    return [(amount, amount) for amount in module.padding]


@every_case
def test_kfc_sums_inputs_over_runs_and_averages_gradients(case):
    model, x = case.build(), normal(3, *case.shape)
    omega, gamma = statistics(see(model, x, "kfc"), model)["inner"]
    found = runs(model, x)
    rows = torch.cat([patches(model.inner, inputs) for inputs, _ in found])
    assert_close(omega, rows.T @ rows / len(x), **TIGHT)
    channels = -1 if isinstance(model.inner, nn.Linear) else 2
    gradients = torch.cat([stack.movedim(channels, -1).flatten(0, -2) for _, stack in found])
    assert_close(gamma, gradients.T @ gradients / len(rows), **TIGHT)


@every_case
@pytest.mark.parametrize("approximation", APPROXIMATIONS)
def test_every_approximation_steps_it(case, approximation):
    model = case.build()
    optimizer = see(model, normal(3, *case.shape), approximation)
    before = model.inner.weight.detach().clone()
    optimizer.step()
    assert optimizer.skipped == 0
    assert (model.inner.weight - before).abs().min() > 0


class Uneven(nn.Module):
    """A module that runs on two parts of unequal size."""

    def __init__(self, inner: nn.Module, features: int, axis: int) -> None:
        super().__init__()
        self.inner = inner
        self.head = nn.Linear(features, 3)
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split((2, 3), dim=self.axis)
        return self.head(torch.cat([self.inner(part).flatten(1) for part in parts], dim=1).tanh())


@pytest.mark.parametrize("approximation", [*APPROXIMATIONS, "exact"])
def test_runs_on_unequal_sizes_are_refused_by_name(approximation):
    model = seeded(lambda: Uneven(nn.Conv1d(1, 2, 3, padding=1), 10, axis=2))
    with pytest.raises(UnsupportedLayerError, match=r"layer 'inner' ran 2 times on inputs of sizes \[2\], \[3\]"):
        see(model, normal(3, 1, 5), approximation)


def test_a_normalisation_takes_runs_of_any_size():
    model, x = seeded(lambda: Uneven(nn.LayerNorm(3), 15, axis=1)), normal(2, 5, 3)
    assert_close(statistics(see(model, x, "kfc"), model)["inner"], [blocks(model, x)["inner"]], **TIGHT)


class Target(nn.Module):
    """Runs its module once more, without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            aim = self.inner(x)
        return self.inner(x) + aim


def test_a_run_without_gradients_does_not_count():
    model, x = seeded(Target), normal(3, 3)
    assert_close(statistics(see(model, x, "block_diagonal"), model)["inner"], [blocks(model, x)["inner"]], **TIGHT)
