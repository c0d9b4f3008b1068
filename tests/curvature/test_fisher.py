"""Exact, block-diagonal and diagonal Fisher against autograd; where KFC is exact, and where it is not."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from kfc_bench.curvature import likelihoods
from tests.curvature.nets import (
    NETS,
    Net,
    diagonal_blocks,
    empirical_fisher,
    every_net,
    expected_fisher,
    named,
    observed,
    outer,
    parameter_blocks,
    score,
)

TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def exact(net, **options):
    model, optimizer = observed(net, "exact", **options)
    return model, optimizer.curvature.statistics[0][0]


def group_blocks(block, groups):
    size = len(block) // groups
    return torch.stack(diagonal_blocks(block, [size] * groups))


def kron(omega, gamma):
    return torch.kron(gamma, omega)


@every_net
def test_type2_is_the_expected_fisher(net):
    model, fisher = exact(net)
    assert_close(fisher, expected_fisher(net, model, net.batch(3)[0]), **TIGHT)


@every_net
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_empirical_fisher(net, reduction):
    model, fisher = exact(net, fisher="empirical", reduction=reduction)
    of_loss = len(net.batch(3)[0]) if reduction == "sum" else 1
    assert_close(fisher, of_loss * empirical_fisher(net, model, *net.batch(3)), **TIGHT)


@every_net
def test_monte_carlo_fisher_of_its_own_draws(net, monkeypatch):
    drawn = []

    def spy(*arguments, **options):
        drawn.append(likelihoods.sampled_vectors(*arguments, **options))
        return drawn[-1]

    monkeypatch.setattr("kfc_bench.optim.natural_gradient.sampled_vectors", spy)
    samples = 2
    model, fisher = exact(net, fisher="mc", samples=samples)
    x, _ = net.batch(3)
    outputs = model(x).detach()
    (vectors,) = drawn
    labels = vectors.argmin(2) if net.likelihood == "categorical" else outputs - vectors * samples**0.5
    rows = [score(net, model, *pair) for draw in labels for pair in zip(x, draw, strict=True)]
    assert_close(fisher, outer(rows) / (len(x) * samples), **TIGHT)


@every_net
def test_block_diagonal_holds_the_exact_blocks(net):
    model, whole = exact(net)
    _, optimizer = observed(net, "block_diagonal")
    for (block,), expected in zip(
        optimizer.curvature.statistics, diagonal_blocks(whole, parameter_blocks(model)), strict=True
    ):
        groups = block.shape[0] if block.ndim == 3 else 1
        wanted = group_blocks(expected, groups)
        assert_close(block, wanted if groups > 1 else wanted[0], **TIGHT)


@every_net
def test_diagonal_holds_the_exact_diagonal(net):
    _, whole = exact(net)
    _, optimizer = observed(net, "diagonal")
    diagonal = torch.cat([tensor.flatten() for (tensor,) in optimizer.curvature.statistics])
    assert_close(diagonal, whole.diagonal(), **TIGHT)


DEEP_LINEAR = Net("deep-linear", lambda: [nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2)], (4,), "gaussian")
KFC_EXACT = [
    pytest.param(named("mlp"), 1, id="mlp-one-example"),
    pytest.param(named("mlp-gaussian"), 1, id="mlp-gaussian-one-example"),
    pytest.param(named("mlp-no-bias"), 1, id="mlp-no-bias-one-example"),
    pytest.param(DEEP_LINEAR, 6, id="deep-linear-square-loss"),
]


def kfc_and_blocks(net, size):
    model, whole = exact(net, size=size)
    _, optimizer = observed(net, "kfc", size=size)
    products = [kron(*factors) for factors in optimizer.curvature.statistics]
    return list(zip(products, diagonal_blocks(whole, parameter_blocks(model)), strict=True))


@pytest.mark.parametrize(("net", "size"), KFC_EXACT)
def test_kfc_is_exact_where_theory_says_so(net, size):
    for product, block in kfc_and_blocks(net, size):
        assert_close(product, block, **TIGHT)


@pytest.mark.parametrize("net", [named("mlp"), named("conv-linear"), named("shared")], ids=lambda net: net.id)
def test_kfc_is_an_approximation_elsewhere(net):
    assert all((product - block).norm() > 1e-3 * block.norm() for product, block in kfc_and_blocks(net, 4))


def test_kfc_is_not_the_empirical_fisher_of_a_deep_linear_network():
    model, optimizer = observed(DEEP_LINEAR, "kfc", size=6, fisher="empirical")
    blocks = diagonal_blocks(empirical_fisher(DEEP_LINEAR, model, *DEEP_LINEAR.batch(6)), parameter_blocks(model))
    for factors, block in zip(optimizer.curvature.statistics, blocks, strict=True):
        assert (kron(*factors) - block).norm() > 1e-2 * block.norm()


@pytest.mark.parametrize("net", [named("mlp"), named("mlp-gaussian")], ids=lambda net: net.id)
def test_monte_carlo_converges_to_type2(net):
    _, expected = exact(net)
    errors = []
    for samples in (20, 2000):
        _, sampled = exact(net, fisher="mc", samples=samples)
        errors.append(float((sampled - expected).norm() / expected.norm()))
    assert errors[1] < 0.1 < 3 * errors[0]
    assert errors[1] < errors[0] / 3


def test_the_table_covers_what_it_should():
    modules = [module for net in NETS for module in net.build().modules()]
    assert any(getattr(module, "groups", 1) > 1 for module in modules)
    assert any(getattr(module, "inplace", False) for module in modules)
