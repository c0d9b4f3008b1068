"""EKFAC (George et al. 2018): the best diagonal in the factors' eigenbasis."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from kfc_kernels import eigenvalue_correction, input_factor, output_factor
from tests.theory.layers import built, cross_entropy, gauss_newton, half_square, roots, see
from tests.theory.maps import random

NETS = {
    "mlp": ([nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)], (8, 4), cross_entropy),
    "deep-linear": ([nn.Linear(4, 3), nn.Linear(3, 2)], (8, 4), half_square),
    "shared": ([nn.Linear(3, 4), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3)], (8, 5, 3), cross_entropy),
    "conv2d": (
        [
            nn.Conv2d(2, 3, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(3, 2, 2, stride=2, bias=False),
            nn.Flatten(),
            nn.Linear(8, 3),
        ],
        (8, 2, 4, 4),
        cross_entropy,
    ),
    "conv1d": ([nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Conv1d(3, 2, 3, padding=1), nn.Flatten()], (8, 2, 5), half_square),
}


def approximations(net):
    """Return each layer's exact block, KFAC's and EKFAC's."""
    layers, shape, loss = NETS[net]
    model, x = built(layers), random(*shape)
    outputs = model(x)
    targets = torch.zeros(len(x), dtype=torch.long) if loss is cross_entropy else torch.zeros_like(outputs)
    rows = []
    for name, layer in see(model, x, roots(outputs, loss)).items():
        exact = gauss_newton(model, name, x, targets, loss) / len(x)
        omega, gamma = input_factor(layer.inputs, layer.geometry), output_factor(layer.vectors, layer.geometry)
        right, left = torch.linalg.eigh(omega).eigenvectors, torch.linalg.eigh(gamma).eigenvectors
        values = eigenvalue_correction(layer.inputs, layer.vectors, layer.geometry, left, right)
        basis = torch.kron(left, right)
        rows.append((exact, torch.kron(gamma, omega), basis * values.flatten() @ basis.mT))
    return rows


every_net = pytest.mark.parametrize("net", NETS)


@every_net
def test_the_error_is_at_most_that_of_kfac(net):
    for exact, kfac, ekfac in approximations(net):
        assert (exact - ekfac).norm() <= (exact - kfac).norm() + 1e-12 * exact.norm()


@pytest.mark.parametrize("net", ["shared", "conv2d", "conv1d"])
def test_the_error_is_less_where_weights_are_shared(net):
    exact, kfac, ekfac = approximations(net)[0]
    assert 0.01 * exact.norm() < (exact - ekfac).norm() < 0.95 * (exact - kfac).norm()


@every_net
def test_the_diagonal_is_the_best_one_by_pythagoras(net):
    for exact, kfac, ekfac in approximations(net):
        squares = (exact - ekfac).square().sum() + (ekfac - kfac).square().sum()
        assert_close((exact - kfac).square().sum(), squares, rtol=1e-10, atol=1e-10)


@every_net
def test_the_trace_is_exact(net):
    for exact, _, ekfac in approximations(net):
        assert_close(ekfac.trace(), exact.trace(), rtol=1e-11, atol=1e-11)


def test_the_trace_of_kfac_is_not():
    for exact, kfac, _ in approximations("conv2d")[:2]:
        assert (kfac.trace() - exact.trace()).abs() > 1e-2 * exact.trace()


def test_where_kfac_is_exact_so_is_ekfac():
    for exact, kfac, ekfac in approximations("deep-linear"):
        assert_close(kfac, exact, rtol=1e-10, atol=1e-10)
        assert_close(ekfac, exact, rtol=1e-10, atol=1e-10)
