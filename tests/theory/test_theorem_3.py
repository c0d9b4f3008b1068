"""Theorem 3: KFC's update is the same function whatever affine transforms of channels the network is written in."""

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from kfc_kernels import ConvGeometry, input_factor, output_factor
from tests.theory.maps import random

RATE = 0.5
LABELS = torch.arange(48) % 3
CHANNELS = (2, 3, 2, 2)


@dataclass(frozen=True)
class Transform:
    """phi(S mix_in + shift_in) mix_out + shift_out in place of phi(S), on the channels of every location (Eq. 24)."""

    mix_in: Tensor
    shift_in: Tensor
    mix_out: Tensor
    shift_out: Tensor

    def before(self, s):
        return affine(s, self.mix_in, self.shift_in)

    def after(self, a):
        return affine(a, self.mix_out, self.shift_out)


def affine(maps, mix, shift):
    return torch.einsum("njyx,jk->nkyx", maps, mix) + shift[:, None, None]


def mixing(size, seed):
    return torch.eye(size).double() + random(size, size, seed=seed) / 4


def identity(size):
    unit, zero = torch.eye(size).double(), torch.zeros(size).double()
    return Transform(unit, zero, unit, zero)


def transforms(*, shifted):
    """Transform the input, as if by a phi of its own, and each layer; but nothing follows the last one's phi."""
    made = [
        Transform(mixing(c, 9 * c), random(c, seed=c), mixing(c, 7 * c), random(c, seed=5 * c) * shifted)
        for c in CHANNELS
    ]
    last = identity(CHANNELS[-1])
    return [*made[:-1], replace(made[-1], mix_out=last.mix_out, shift_out=last.shift_out)]


PLAIN = [identity(channels) for channels in CHANNELS]


@dataclass(frozen=True)
class Network:
    """Three convolutions with tanh between them; weights ``[K, D]``, the bias last."""

    weights: list[Tensor]
    transforms: list[Transform]
    padding: int

    def geometry(self, layer, size):
        (rows, columns), joined = self.weights[layer].shape, CHANNELS[layer]
        kernel = round(((columns - 1) / joined) ** 0.5)
        return ConvGeometry.conv(joined, rows, size, kernel, padding=self.padding, bias=True)

    def run(self, x):
        """Return the logits, and each layer's geometry, input and output."""
        a, seen = self.transforms[0].after(x), []
        for layer, weight in enumerate(self.weights):
            geometry = self.geometry(layer, a.shape[2:])
            kernels = weight[:, :-1].reshape(geometry.out_channels, geometry.in_channels, *geometry.kernel)
            s = functional.conv2d(a, kernels, weight[:, -1], padding=self.padding)
            seen.append((geometry, a, s))
            s = self.transforms[layer + 1].before(s)
            last = layer == len(self.weights) - 1
            a = s if last else self.transforms[layer + 1].after(s.tanh())
        # A third class of logit 0 makes the last layer's Gamma invertible.
        logits = a.mean((2, 3))
        return torch.cat([logits, torch.zeros(len(x), 1).double()], dim=1), seen

    def twin(self, made):
        """Write the same function with other transforms (Lemma 2); the homogeneous coordinate is the last."""
        weights = []
        for weight, before, here in zip(self.weights, made, made[1:], strict=False):
            shift = torch.zeros_like(weight)
            shift[:, -1] = here.shift_in
            mixed = torch.linalg.solve(here.mix_in.mT, weight - shift)
            weights.append(mixed @ torch.linalg.inv(expanded(before, weight)).mT)
        return Network(weights, made, self.padding)

    def gradients(self, x):
        weights = [weight.clone().requires_grad_() for weight in self.weights]
        outputs, _ = replace(self, weights=weights).run(x)
        return torch.autograd.grad(functional.cross_entropy(outputs, LABELS), weights)

    def factors(self, x):
        weights = [weight.clone().requires_grad_() for weight in self.weights]
        outputs, seen = replace(self, weights=weights).run(x)
        p = outputs.detach().softmax(1)
        # Type 2: the columns of a root of the loss's Hessian.
        vectors = p.mT.sqrt()[:, :, None] * (torch.eye(3).double()[:, None] - p)
        passes = [torch.autograd.grad(outputs, [s for *_, s in seen], v, retain_graph=True) for v in vectors]
        return [
            (input_factor(a.detach(), geometry), output_factor(torch.stack(g), geometry))
            for (geometry, a, _), g in zip(seen, zip(*passes, strict=True), strict=True)
        ]

    def stepped(self, directions):
        return replace(self, weights=[w - RATE * d for w, d in zip(self.weights, directions, strict=True)])


def expanded(transform, weight):
    """[[V]]_H (Eq. 79), with which [[A V + d]]_H = [[A]]_H [[V]]_H."""
    elements = (weight.shape[1] - 1) // len(transform.mix_out)
    matrix = torch.zeros(weight.shape[1], weight.shape[1]).double()
    matrix[:-1, :-1] = torch.kron(transform.mix_out, torch.eye(elements).double())
    matrix[-1, :-1] = transform.shift_out.repeat_interleave(elements)
    matrix[-1, -1] = 1
    return matrix


def plain(padding=0):
    kernels = (2, 2, 3) if padding == 0 else (3, 3, 3)
    shapes = zip(CHANNELS, CHANNELS[1:], kernels, strict=False)
    return Network([random(o, i * k**2 + 1, seed=10 + o + k) / (i * k**2) ** 0.5 for i, o, k in shapes], PLAIN, padding)


def kfc(network, x):
    return network.stepped(
        [
            torch.linalg.solve(gamma, grad) @ torch.linalg.inv(omega)
            for grad, (omega, gamma) in zip(network.gradients(x), network.factors(x), strict=True)
        ]
    )


def damped_kfc(network, x):
    directions = []
    for grad, (omega, gamma) in zip(network.gradients(x), network.factors(x), strict=True):
        omega.diagonal().add_(0.1)
        gamma.diagonal().add_(0.1)
        directions.append(torch.linalg.solve(gamma, grad) @ torch.linalg.inv(omega))
    return network.stepped(directions)


def sgd(network, x):
    return network.stepped(network.gradients(x))


X = random(len(LABELS), CHANNELS[0], 5, 5)
UNSEEN = random(7, CHANNELS[0], 5, 5, seed=1)


def outputs(network):
    return network.run(UNSEEN)[0]


CASES = [pytest.param(0, True, id="valid-shifted"), pytest.param(1, False, id="padded-not-shifted")]
exact = pytest.mark.parametrize(("padding", "shifted"), CASES)


@exact
def test_the_twin_is_the_same_function(padding, shifted):
    network = plain(padding)
    assert_close(outputs(network.twin(transforms(shifted=shifted))), outputs(network), rtol=1e-10, atol=1e-10)


@exact
def test_the_update_of_kfc_does_not_depend_on_the_transforms(padding, shifted):
    network = plain(padding)
    updated = outputs(kfc(network, X))
    assert (updated - outputs(network)).abs().max() > 1e-2
    assert_close(outputs(kfc(network.twin(transforms(shifted=shifted)), X)), updated, rtol=1e-8, atol=1e-8)


@exact
@pytest.mark.parametrize("method", [sgd, damped_kfc])
def test_the_updates_of_sgd_and_of_damped_kfc_do(method, padding, shifted):
    network = plain(padding)
    twin = network.twin(transforms(shifted=shifted))
    assert (outputs(method(twin, X)) - outputs(method(network, X))).abs().max() > 1e-3


@exact
def test_the_factors_are_congruent(padding, shifted):
    network, made = plain(padding), transforms(shifted=shifted)
    factors = zip(network.factors(X), network.twin(made).factors(X), strict=True)
    for ((omega, gamma), (twin_omega, twin_gamma)), weight, (before, here) in zip(
        factors, network.weights, itertools.pairwise(made), strict=True
    ):
        moved = expanded(before, weight)
        assert_close(twin_omega, moved.mT @ omega @ moved, rtol=1e-9, atol=1e-9)
        assert_close(twin_gamma, here.mix_in @ gamma @ here.mix_in.mT, rtol=1e-9, atol=1e-9)


def test_shifts_do_not_pass_through_padding_with_zeros():
    network = plain(padding=1)
    assert (outputs(network.twin(transforms(shifted=True))) - outputs(network)).abs().max() > 1e-2
