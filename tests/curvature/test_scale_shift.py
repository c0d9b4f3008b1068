"""Normalisations: the Fisher block of scale and shift against autograd's."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from kfc_bench.curvature.layers import find_layers
from kfc_bench.optim import NaturalGradient
from tests.curvature.autodiff import TIGHT, blocks, fisher, fisher_of, normal, see, seeded, statistics
from tests.curvature.nets import DAMPING

Layers = Callable[[], list[nn.Module]]


@dataclass(frozen=True)
class Case:
    """A network whose layer '1' is a normalisation, and one example's shape."""

    id: str
    layers: Layers
    shape: tuple[int, ...]

    def build(self):
        model = seeded(lambda: nn.Sequential(*self.layers()))
        for module in model.modules():
            if getattr(module, "running_mean", None) is not None:
                module.running_mean.copy_(normal(len(module.running_mean)))
                module.running_var.copy_(normal(len(module.running_var)).square() + 0.5)
        return model.eval()


BATCH = [
    Case("batch1d", lambda: [nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)], (3,)),
    Case(
        "batch1d-positions",
        lambda: [nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 2)],
        (2, 5),
    ),
    Case(
        "batch2d",
        lambda: [nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3)],
        (1, 3, 3),
    ),
    Case("batch3d", lambda: [nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2), nn.Flatten(), nn.Linear(16, 2)], (1, 2, 2, 2)),
]
OTHERS = [
    Case("layer", lambda: [nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 3)], (3,)),
    Case("layer-no-bias", lambda: [nn.Linear(3, 4), nn.LayerNorm(4, bias=False), nn.Tanh(), nn.Linear(4, 3)], (3,)),
    Case(
        "layer-leading",
        lambda: [nn.Linear(3, 4), nn.LayerNorm(4, eps=0.1), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3)],
        (2, 3, 3),
    ),
    Case(
        "layer-several",
        lambda: [nn.Conv2d(1, 2, 2), nn.LayerNorm((2, 2)), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)],
        (1, 3, 3),
    ),
    Case(
        "layer-all",
        lambda: [nn.Conv2d(1, 2, 2), nn.LayerNorm((2, 2, 2)), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)],
        (1, 3, 3),
    ),
    Case(
        "group",
        lambda: [nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 3)],
        (1, 3, 3),
    ),
    Case("group-features", lambda: [nn.Linear(3, 4), nn.GroupNorm(2, 4), nn.Tanh(), nn.Linear(4, 3)], (3,)),
]
every_case = pytest.mark.parametrize("case", BATCH + OTHERS, ids=lambda case: case.id)
every_batch_norm = pytest.mark.parametrize("case", BATCH, ids=lambda case: case.id)
STRUCTURED = ["kfc", "kfc_reduce", "kfc_eigen", "ekfac", "sua", "prong", "mini_block", "block_diagonal"]


@every_case
def test_scale_and_shift_have_their_exact_block(case):
    model, x = case.build(), normal(3, *case.shape)
    (block,) = statistics(see(model, x, "kfc"), model)["1"]
    assert block.shape == (sum(parameter.numel() for parameter in model[1].parameters()),) * 2
    assert_close(block, blocks(model, x)["1"], **TIGHT)


@pytest.mark.parametrize("approximation", STRUCTURED)
def test_every_structured_approximation_has_it_beside_its_own(approximation):
    case = BATCH[2]
    model, x = case.build(), normal(3, *case.shape)
    (block,) = statistics(see(model, x, approximation), model)["1"]
    assert_close(block, blocks(model, x)["1"], **TIGHT)


@every_case
def test_the_diagonal_is_that_of_the_block(case):
    model, x = case.build(), normal(3, *case.shape)
    optimizer = see(model, x, "diagonal")
    (diagonal,) = statistics(optimizer, model)["1"]
    assert_close(diagonal, blocks(model, x)["1"].diagonal(), **TIGHT)
    gradients = [layer.gradient() for layer in find_layers(model)]
    assert_close(optimizer.curvature.precondition(gradients)[1], gradients[1] / (diagonal + DAMPING), **TIGHT)


@every_case
def test_the_exact_fisher_holds_all_layers(case):
    model, x = case.build(), normal(3, *case.shape)
    assert_close(see(model, x, "exact").curvature.statistics[0][0], fisher(model, x)[0], **TIGHT)


@every_case
def test_natural_gradients_solve_the_damped_system(case):
    model, x = case.build(), normal(3, *case.shape)
    optimizer = see(model, x, "kfc")
    optimizer.curvature.refresh()
    gradients = [layer.gradient() for layer in find_layers(model)]
    natural = optimizer.curvature.precondition(gradients)[1]
    block = blocks(model, x)["1"]
    assert_close((block + DAMPING * torch.eye(len(block)).double()) @ natural, gradients[1], **TIGHT)


@every_case
def test_a_step_takes_scale_and_shift_each_their_part(case):
    model, x = case.build(), normal(3, *case.shape)
    before = [parameter.detach().clone() for parameter in model[1].parameters()]
    optimizer = see(model, x, "kfc", momentum=0.0)
    gradients = [layer.gradient() for layer in find_layers(model)]
    block = blocks(model, x)["1"]
    wanted = torch.linalg.solve(block + DAMPING * torch.eye(len(block)).double(), gradients[1])
    optimizer.step()
    moved = torch.cat([(old - new).flatten() for old, new in zip(before, model[1].parameters(), strict=True)])
    assert_close(moved, 0.1 * wanted, **TIGHT)


def batch_normalised(model, x):
    """Return what the normalisation scales, its batch's statistics as constants."""
    before = model[0](x).detach()
    axes = (0, *range(2, before.ndim))
    mean, variance = before.mean(axes, keepdim=True), before.var(axes, keepdim=True, correction=0)
    return (before - mean) / (variance + model[1].eps).sqrt()


def affine(model, normalised):
    """Return each example's run from the scale and shift on."""
    channels = [1, -1, *[1] * (normalised.ndim - 2)]
    return [
        lambda example=example: model[2:](model[1].weight.reshape(channels) * example + model[1].bias.reshape(channels))
        for example in normalised.split(1)
    ]


@every_batch_norm
@pytest.mark.parametrize("mode", ["train", "no-running-statistics"])
def test_the_statistics_of_a_batch_are_constants(case, mode):
    model, x = case.build(), normal(4, *case.shape)
    if mode == "train":
        model.train()
    else:
        model[1].running_mean = model[1].running_var = None
    wanted = fisher_of(affine(model, batch_normalised(model, x)), list(model[1].parameters()))
    (block,) = statistics(see(model, x, "kfc"), model)["1"]
    assert_close(block, wanted, **TIGHT)
    (diagonal,) = statistics(see(model, x, "diagonal"), model)["1"]
    assert_close(diagonal, wanted.diagonal(), **TIGHT)


def test_running_statistics_change_as_without_the_optimizer():
    case = BATCH[2]
    model, plain, x = case.build().train(), case.build().train(), normal(4, *case.shape)
    see(model, x, "kfc")
    plain(x)
    assert_close(model[1].state_dict(), plain[1].state_dict(), rtol=0, atol=0)


def test_examples_that_do_not_count_are_part_of_the_batch_statistics():
    case = BATCH[2]
    model, x = case.build().train(), normal(5, *case.shape)
    mask = torch.tensor([True, False, True, True, False])
    runs = [run for run, counts in zip(affine(model, batch_normalised(model, x)), mask, strict=True) if counts]
    wanted = fisher_of(runs, list(model[1].parameters()))
    optimizer = NaturalGradient(model, 0.1, fisher="type2")
    outputs = model(x)
    targets = torch.where(mask, 1, -100)
    optimizer.backward(functional.cross_entropy(outputs, targets), outputs, mask)
    assert_close(statistics(optimizer, model)["1"][0], wanted, **TIGHT)


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("case", [BATCH[0], OTHERS[0], OTHERS[5]], ids=lambda case: case.id)
def test_a_frozen_scale_or_shift_leaves_the_other_its_block(case, frozen):
    model, x = case.build(), normal(3, *case.shape)
    getattr(model[1], frozen).requires_grad_(False)
    (block,) = statistics(see(model, x, "kfc"), model)["1"]
    assert block.shape == (4, 4)
    assert_close(block, blocks(model, x)["1"], **TIGHT)


@pytest.mark.parametrize(
    "module",
    [nn.BatchNorm1d(4, affine=False), nn.LayerNorm(4, elementwise_affine=False), nn.GroupNorm(2, 4, affine=False)],
    ids=lambda module: type(module).__name__,
)
def test_a_normalisation_without_scale_and_shift_is_no_layer(module):
    assert [layer.name for layer in find_layers(nn.Sequential(nn.Linear(3, 4), module, nn.Linear(4, 2)))] == ["0", "2"]


def test_no_warning_is_given_and_nothing_is_replaced(recwarn):
    for approximation in STRUCTURED:
        NaturalGradient(BATCH[0].build(), 0.1, approximation=approximation)
    assert not recwarn
