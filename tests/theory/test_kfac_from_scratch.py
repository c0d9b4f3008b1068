"""Where Kronecker factors are exact (Dangel et al. 2025; Eschenhagen et al. 2023), and where they are not."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from tests.theory.layers import (
    built,
    cross_entropy,
    drawn_vectors,
    empirical_fisher,
    gauss_newton,
    half_square,
    loss_vectors,
    roots,
    see,
)
from tests.theory.maps import random

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
SAMPLES = 25_000


class Pool(nn.Module):
    """Aggregate a shared dimension, or all but the first two."""

    def __init__(self, how, first=1, last=1):
        super().__init__()
        self.how, self.dims = how, (first, last)

    def forward(self, x):
        return getattr(x.flatten(*self.dims), self.how)(self.dims[0])


def apart(product, block):
    return (product - block).norm() / block.norm()


# torch's losses with the number that a mean over examples of their per-example halves is multiplied by.
def square(reduction):
    def loss(outputs, targets):
        return functional.mse_loss(outputs, targets, reduction=reduction)

    return loss, half_square, lambda outputs: 2 * len(outputs) / (1 if reduction == "sum" else outputs.numel())


def entropy(reduction):
    def loss(outputs, targets):
        return functional.cross_entropy(outputs, targets, reduction=reduction)

    return loss, cross_entropy, lambda outputs: len(outputs) if reduction == "sum" else 1


LOSSES = [
    pytest.param(make, reduction, id=f"{make.__name__}-{reduction}")
    for make in (square, entropy)
    for reduction in ("mean", "sum")
]
every_loss = pytest.mark.parametrize(("make", "reduction"), LOSSES)


def targets_of(outputs, own):
    if own is cross_entropy:
        return torch.arange(len(outputs)) % outputs.shape[1]
    return random(*outputs.shape, seed=3)


def mlp():
    return built([nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 3)])


def deep_linear():
    return built([nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2)])


def products_and_blocks(model, x, make, reduction, form="expand"):
    loss, own, scale = make(reduction)
    outputs = model(x)
    return [
        (scale(outputs) * getattr(layer, form)(), gauss_newton(model, name, x, targets_of(outputs, own), loss))
        for name, layer in see(model, x, roots(outputs, own)).items()
    ]


@every_loss
def test_one_example_type2(make, reduction):
    for product, block in products_and_blocks(mlp(), random(1, 5), make, reduction):
        assert_close(product, block, **TIGHT)


@every_loss
def test_more_examples_are_an_approximation(make, reduction):
    *hidden, last = products_and_blocks(mlp(), random(6, 5), make, reduction)
    assert all(apart(*pair) > 1e-2 for pair in hidden)
    # The last layer's derivatives are the same for every example if the loss is square.
    assert (apart(*last) < 1e-12) == (make is square)


@pytest.mark.parametrize("own", [half_square, cross_entropy])
def test_one_example_empirical(own):
    model, x = mlp(), random(1, 5)
    targets = targets_of(model(x), own)
    for name, layer in see(model, x, loss_vectors(model(x), targets, own)).items():
        assert_close(layer.expand(), empirical_fisher(model, name, x, targets, own), **TIGHT)


def test_one_example_labels_drawn_give_type2_in_expectation():
    model, x = mlp(), random(1, 5)
    totals = {}
    for label, probability in enumerate(model(x).detach().softmax(1)[0]):
        vectors = loss_vectors(model(x), torch.tensor([label]), cross_entropy)
        for name, layer in see(model, x, vectors).items():
            totals[name] = totals.get(name, 0) + probability * layer.expand()
    for name, total in totals.items():
        assert_close(total, gauss_newton(model, name, x, torch.tensor([0]), cross_entropy), **TIGHT)


@pytest.mark.parametrize("own", [half_square, cross_entropy])
def test_one_example_draws_converge(own):
    model, x = mlp(), random(1, 5)
    targets = targets_of(model(x), own)
    few, many = (see(model, x, drawn_vectors(model(x), own, samples)) for samples in (1, SAMPLES))
    for name in many:
        block = gauss_newton(model, name, x, targets, own)
        assert apart(many[name].expand(), block) < 0.03 < apart(few[name].expand(), block)


shared = pytest.mark.parametrize("shape", [(6, 4), (6, 5, 4)], ids=["S1", "S5"])
reductions = pytest.mark.parametrize("reduction", ["mean", "sum"])


@shared
@reductions
def test_deep_linear_network_with_square_loss(shape, reduction):
    for product, block in products_and_blocks(deep_linear(), random(*shape), square, reduction):
        assert_close(product, block, **TIGHT)


def test_deep_linear_network_with_cross_entropy_is_an_approximation():
    assert all(apart(*pair) > 1e-2 for pair in products_and_blocks(deep_linear(), random(6, 4), entropy, "mean"))


@shared
def test_deep_linear_network_draws_converge(shape):
    model, x = deep_linear(), random(*shape)
    for name, layer in see(model, x, drawn_vectors(model(x), half_square, 5000)).items():
        block = gauss_newton(model, name, x, torch.zeros_like(model(x)), half_square) / len(x)
        assert apart(layer.expand(), block) < 0.03


@shared
def test_deep_linear_network_empirical_factors_are_not_the_empirical_fisher(shape):
    model, x = deep_linear(), random(*shape)
    targets = targets_of(model(x), half_square)
    for name, layer in see(model, x, loss_vectors(model(x), targets, half_square)).items():
        assert apart(layer.expand(), empirical_fisher(model, name, x, targets, half_square) / len(x)) > 0.1


def pooled(depth, how):
    return built([*(nn.Linear(4, 4) for _ in range(depth)), Pool(how)])


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("how", ["sum", "mean"])
@reductions
def test_pooled_positions_are_exact_in_the_reduced_form_only(depth, how, reduction):
    model, x = pooled(depth, how), random(6, 5, 4)
    for product, block in products_and_blocks(model, x, square, reduction, "reduce"):
        assert_close(product, block, **TIGHT)
    for product, block in products_and_blocks(model, x, square, reduction, "expand"):
        assert apart(product, block) > 0.1


@reductions
def test_positions_apart_are_exact_in_the_expanded_form_only(reduction):
    for product, block in products_and_blocks(deep_linear(), random(6, 5, 4), square, reduction, "reduce"):
        assert apart(product, block) > 0.1


def test_sums_on_both_sides_would_be_too_large_by_the_square_of_the_positions():
    model, x = pooled(1, "mean"), random(6, 5, 4)
    ((product, block),) = products_and_blocks(model, x, square, "sum", "reduce")
    assert_close(apart(5**2 * product, block), torch.tensor(5.0**2 - 1).double(), **TIGHT)


@reductions
@pytest.mark.parametrize("how", ["sum", "mean"])
def test_positions_pooled_halfway(how, reduction):
    layers = [nn.Linear(4, 3), nn.Linear(3, 4), Pool(how), nn.Linear(4, 3), nn.Linear(3, 2)]
    model, x = built(layers), random(6, 5, 4)
    expand = products_and_blocks(model, x, square, reduction, "expand")
    reduce = products_and_blocks(model, x, square, reduction, "reduce")
    for product, block in reduce + expand[2:]:
        assert_close(product, block, **TIGHT)
    assert all(apart(*pair) > 0.1 for pair in expand[:2])


def shallow_cnn(**options):
    convolutions = (nn.Conv2d(2, 3, 3, padding=1, **options), nn.Conv2d(3, 2, 3, padding=1, **options))
    return built([*convolutions, Pool("sum", 2, 3)])


@reductions
def test_the_last_convolution_before_a_sum_is_exact_in_the_reduced_form(reduction):
    first, last = products_and_blocks(shallow_cnn(), random(6, 2, 4, 4), square, reduction, "reduce")
    assert_close(*last, **TIGHT)
    # The pixels at the border are in fewer of the second layer's patches.
    assert apart(*first) > 1e-2
    for pair in products_and_blocks(shallow_cnn(), random(6, 2, 4, 4), square, reduction, "expand"):
        assert apart(*pair) > 0.1


@reductions
def test_every_convolution_before_a_sum_is_exact_on_a_torus(reduction):
    model = shallow_cnn(padding_mode="circular")
    for product, block in products_and_blocks(model, random(6, 2, 4, 4), square, reduction, "reduce"):
        assert_close(product, block, **TIGHT)
