"""The shipped approximations written out: against their own preconditioning, autodiff and each other."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.experiments.fidelity.dense import DENSE, dense_blocks
from kfc_bench.experiments.fidelity.measurement import approximations, exact_fisher
from kfc_bench.experiments.fidelity.observed import observe
from kfc_bench.problems.images import Split
from tests.curvature.autodiff import fisher, normal, seeded
from tests.curvature.nets import diagonal_blocks
from tests.theory.maps import random

TIGHT = {"rtol": 1e-9, "atol": 1e-9}
DAMPING = 0.3
EXAMPLES = Split(normal(6, 2, 4, 4).float(), torch.arange(6) % 3)


@pytest.fixture(scope="module")
def observed():
    def build():
        return nn.Sequential(
            *(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 2, 2, stride=2, bias=False), nn.Tanh()),
            *(nn.Flatten(), nn.Linear(8, 3)),
        )

    return observe(seeded(build), EXAMPLES, 0)


def test_the_exact_matrix_is_autodiff_s(observed):
    expected, sizes = fisher(observed.model, EXAMPLES.images.double())
    found = exact_fisher(observed.batches["type2"])
    assert_close(found, expected, **TIGHT)
    blocks = dense_blocks("block_diagonal", observed.batches["type2"])
    assert [len(block) for block in blocks] == sizes
    for block, own in zip(blocks, diagonal_blocks(expected, sizes), strict=True):
        assert_close(block, own, **TIGHT)


DIRECT = ("ekfac", "prong", "mini_block", "diagonal", "block_diagonal")
"""Those whose class adds the damping to the matrix itself."""


@pytest.mark.parametrize("name", DIRECT)
def test_the_matrix_is_what_the_class_inverts(observed, name):
    batches = observed.batches["type2"]
    shipped = APPROXIMATIONS[name](damping=DAMPING)
    shipped.observe(batches)
    shipped.refresh()
    gradients = [random(b.geometry.out_channels, b.geometry.patch_dim) for b in batches]
    for block, gradient, natural in zip(
        dense_blocks(name, batches), gradients, shipped.precondition(gradients), strict=True
    ):
        damped = block + DAMPING * torch.eye(len(block)).double()
        assert_close(torch.linalg.solve(damped, gradient.flatten()), natural.flatten(), **TIGHT)


@pytest.mark.parametrize("name", ["kfc", "kfc_reduce", "sua"])
def test_the_matrix_is_what_the_class_inverts_where_the_factors_are_damped(observed, name):
    batches = observed.batches["type2"]
    for batch in batches:
        # Far below the eigenvalues of these factors, once identities are added to their statistics.
        shipped = APPROXIMATIONS[name](damping=1e-14)
        shipped.observe([batch])
        shipped.statistics[0] = [matrix + torch.eye(len(matrix)).double() for matrix in shipped.statistics[0]]
        shipped.refresh()
        gradient = random(batch.geometry.out_channels, batch.geometry.patch_dim)
        (natural,) = shipped.precondition([gradient])
        block = DENSE[name](shipped, 0, batch.geometry)
        assert_close(torch.linalg.solve(block, gradient.flatten()), natural.flatten(), rtol=1e-5, atol=1e-6)


def test_sua_is_the_channels_covariance_beside_the_mean(observed):
    batch = observed.batches["type2"][0]
    pixels = batch.inputs.movedim(1, -1).flatten(0, -2)
    mean = torch.cat([pixels.mean(0).repeat_interleave(9), torch.ones(1).double()])
    omega = mean.outer(mean)
    omega[:-1, :-1] += torch.kron(pixels.mT.cov(correction=0), torch.eye(9).double())
    gamma = torch.einsum("vnkyx,vnlyx->kl", batch.output_gradients, batch.output_gradients) / (6 * 16)
    assert_close(dense_blocks("sua", [batch])[0], 16 * torch.kron(gamma, omega), **TIGHT)
    assert_close(dense_blocks("prong", [batch])[0], torch.kron(torch.eye(3).double(), omega), **TIGHT)


def test_the_mini_blocks_are_the_exact_matrix_s(observed):
    for index, kernel in ((0, 9), (1, 4)):
        batch = observed.batches["type2"][index]
        (exact,), (found,) = (dense_blocks(name, [batch]) for name in ("block_diagonal", "mini_block"))
        kept = found != 0
        assert_close(found[kept], exact[kept], **TIGHT)
        weights = batch.geometry.in_channels * kernel**2 + batch.geometry.bias
        assert int(kept.sum()) == batch.geometry.out_channels * weights


def test_each_layer_s_order_of_closeness(observed):
    for index, batch in enumerate(observed.batches["type2"]):
        found = dict(approximations(observed.batches, index))
        exact = found["block_diagonal", "type2"]
        error = {key: float((matrix - exact).norm()) for key, matrix in found.items()}
        assert error["ekfac", "type2"] <= error["kfc", "type2"]
        for name in ("kfc", "kfc_reduce", "sua", "prong"):
            assert error["nearest_kronecker", "type2"] <= error[name, "type2"]
        assert error["mini_block", "type2"] <= error["diagonal", "type2"] or batch.geometry.kernel_elements == 1
        for name in ("ekfac", "mini_block", "diagonal"):
            assert_close(found[name, "type2"].trace(), exact.trace(), **TIGHT)


def test_gradients_and_losses_are_the_model_s(observed):
    def loss(model):
        return functional.cross_entropy(model(observed.examples.images), EXAMPLES.labels)

    gradients = torch.autograd.grad(loss(observed.model), list(observed.model.parameters()))
    placed = dict(zip(map(id, observed.model.parameters()), gradients, strict=True))
    for layer, gradient in zip(observed.layers, observed.gradients, strict=True):
        expected = layer.joint([placed[id(parameter)] for parameter in layer.parameters])
        assert_close(gradient, expected.flatten(), **TIGHT)
    assert observed.loss([None] * 3) == pytest.approx(float(loss(observed.model).detach()))


def test_a_step_moves_what_it_is_of_and_leaves_the_model(observed):
    before = observed.loss([None] * 3)
    rate = 1e-6
    for index, gradient in enumerate(observed.gradients):
        steps = [rate * gradient if place == index else None for place in range(3)]
        assert before - observed.loss(steps) == pytest.approx(rate * float(gradient @ gradient), rel=1e-3)
    together = observed.loss([rate * gradient for gradient in observed.gradients])
    assert before - together == pytest.approx(rate * sum(float(g @ g) for g in observed.gradients), rel=1e-3)
    assert observed.loss([None] * 3) == before


def test_labels_are_drawn_by_the_seed(observed):
    def drawn(seed):
        return observe(observed.model, EXAMPLES, seed).batches["mc"][2].output_gradients

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
