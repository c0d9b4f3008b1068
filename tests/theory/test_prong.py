"""Theorem 4: with uncorrelated pixels and white derivatives, KFC's update is that of a network whitened by channel."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from kfc_kernels import ConvGeometry, block_fisher, input_factor, output_factor
from tests.theory.maps import beta, every_shift, for_each_example, offsets, one_location_each, random, same, white

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
KERNEL = (3, 2)
MEAN = random(3, seed=1)
ROOT = torch.eye(3).double() + random(3, 3, seed=2) / 3


def by_channel(mean, covariance, kernel):
    """Omega tilde without beta, the homogeneous coordinate last."""
    elements = kernel[0] * kernel[1]
    first = torch.cat([mean.repeat_interleave(elements), torch.ones(1).double()])
    matrix = first.outer(first)
    matrix[:-1, :-1] += torch.kron(covariance, torch.eye(elements).double())
    return matrix


def factor(mean, root, kernel):
    """L of Omega tilde = L L^T."""
    elements = kernel[0] * kernel[1]
    matrix = torch.zeros(len(mean) * elements + 1, len(mean) * elements + 1).double()
    # torch.kron takes no column-major matrix, as torch.linalg returns, beside a row-major one.
    matrix[:-1, :-1] = torch.kron(root.contiguous(), torch.eye(elements).double())
    matrix[:, -1] = torch.cat([mean.repeat_interleave(elements), torch.ones(1).double()])
    return matrix


def test_the_matrix_is_the_square_of_its_factor():
    root = factor(MEAN, ROOT, KERNEL)
    assert_close(root @ root.mT, by_channel(MEAN, ROOT @ ROOT.mT, KERNEL), **TIGHT)


def test_the_inverse_of_the_factor_whitens_patches():
    elements = KERNEL[0] * KERNEL[1]
    inverse = torch.linalg.inv(factor(MEAN, ROOT, KERNEL)).mT
    whitener = torch.linalg.inv(ROOT).mT
    expected = torch.zeros_like(inverse)
    expected[:-1, :-1] = torch.kron(whitener, torch.eye(elements).double())
    expected[-1, :-1] = -(MEAN @ whitener).repeat_interleave(elements)
    expected[-1, -1] = 1
    assert_close(inverse, expected, **TIGHT)


LAYERS = [
    pytest.param(ConvGeometry.conv(3, 2, (4, 5), KERNEL, bias=True), id="valid"),
    pytest.param(ConvGeometry.conv(3, 2, (4, 5), (3, 3), padding=1, padding_mode="circular", bias=True), id="torus"),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_omega_is_the_matrix_times_positions_where_nothing_is_padded(layer):
    omega = input_factor(white(MEAN, ROOT, layer.in_size), layer)
    assert_close(omega, layer.positions * by_channel(MEAN, ROOT @ ROOT.mT, layer.kernel), **TIGHT)


def test_omega_has_the_entries_of_theorem_4_where_zeros_are():
    size, radius = (4, 5), (1, 1)
    omega = input_factor(white(MEAN, ROOT, size), same(3, 2, size, radius))
    elements = offsets(radius)
    counts = torch.tensor([[beta(size, first, second) for second in elements] for first in elements]).double()
    weights = torch.zeros(28, 28).double()
    weights[:-1, :-1] = counts.repeat(3, 3)
    weights[-1, :-1] = weights[:-1, -1] = counts.diagonal().repeat(3)
    weights[-1, -1] = 20
    matrix = by_channel(MEAN, ROOT @ ROOT.mT, (3, 3))
    assert_close(omega, weights * matrix, **TIGHT)
    assert (omega - 20 * matrix).norm() > 0.1 * omega.norm()


def statistics(a):
    pixels = a.movedim(1, -1).flatten(0, -2)
    return pixels.mean(0), pixels.mT.cov(correction=0)


def test_pixels_that_are_correlated_have_another_omega():
    layer = ConvGeometry.conv(3, 2, (4, 5), KERNEL, bias=True)
    smooth = functional.avg_pool2d(random(3, 6, 7)[None], 3, 1, 1)[0]
    a = every_shift(smooth, layer.in_size)
    omega = input_factor(a, layer)
    matrix = layer.positions * by_channel(*statistics(a), KERNEL)
    assert (omega - matrix).norm() > 0.1 * omega.norm()
    # One pixel's statistics are right.
    assert_close(omega.diagonal(), matrix.diagonal(), **TIGHT)


def test_the_block_of_white_derivatives_is_the_matrix_beside_an_identity():
    layer = ConvGeometry.conv(3, 2, (4, 5), KERNEL, bias=True)
    a = white(MEAN, ROOT, layer.in_size)
    matrix = layer.positions * by_channel(MEAN, ROOT @ ROOT.mT, KERNEL)
    for root, holds in ((torch.eye(2).double(), True), (random(2, 2), False)):
        g = for_each_example(one_location_each(root, layer.out_size), len(a))
        block = block_fisher(a, g, layer)
        assert_close(block, torch.kron(output_factor(g, layer), matrix), **TIGHT)
        assert torch.allclose(block, torch.kron(torch.eye(2).double(), matrix)) == holds


X = torch.einsum("jk,nkyx->njyx", ROOT, random(12, 3, 5, 5)) + MEAN[:, None, None]
HEAD = random(2, 5, seed=4)
LABELS = torch.arange(len(X)) % 5
RATE = 0.3


def outputs(joint, a, padding):
    kernels = joint[:, :-1].unflatten(1, (3, *KERNEL))
    return functional.conv2d(a, kernels, joint[:, -1], padding=padding).tanh().mean((2, 3)) @ HEAD


def sgd(joint, a, padding):
    joint = joint.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(outputs(joint, a, padding), LABELS), joint)
    return joint.detach() - RATE * gradient, gradient


@pytest.mark.parametrize("padding", [0, 1])
def test_sgd_on_whitened_inputs_preconditions_with_the_matrix(padding):
    joint = random(2, 19, seed=3) / 3
    mean, covariance = statistics(X)
    root = torch.linalg.cholesky(covariance)
    whitened = torch.einsum("jk,nkyx->njyx", torch.linalg.inv(root), X - mean[:, None, None])
    assert_close(statistics(whitened), (torch.zeros(3).double(), torch.eye(3).double()), **TIGHT)

    plain, gradient = sgd(joint, X, padding)
    preconditioned = joint - RATE * gradient @ torch.linalg.inv(by_channel(mean, covariance, KERNEL))
    prong, _ = sgd(joint @ factor(mean, root, KERNEL), whitened, padding)
    apart = (outputs(prong, whitened, padding) - outputs(preconditioned, X, padding)).abs().max()
    # Zeros that pad whitened maps stand for the mean.
    assert (apart < 1e-12) == (padding == 0)
    assert (outputs(plain, X, padding) - outputs(preconditioned, X, padding)).abs().max() > 1e-3


def test_the_update_does_not_depend_on_the_root_of_the_covariance():
    joint = random(2, 19, seed=3) / 3
    mean, covariance = statistics(X)
    values, vectors = torch.linalg.eigh(covariance)
    updated = []
    for root in (torch.linalg.cholesky(covariance), vectors * values.sqrt()):
        whitened = torch.einsum("jk,nkyx->njyx", torch.linalg.inv(root), X - mean[:, None, None])
        forth = factor(mean, root, KERNEL)
        updated.append(sgd(joint @ forth, whitened, 0)[0] @ torch.linalg.inv(forth))
    assert_close(*updated, **TIGHT)
    assert (updated[0] - joint).norm() > 1e-2
