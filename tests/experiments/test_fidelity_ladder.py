"""The ladder's matrices against loops over locations, and where one assumption holds, against the next."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from kfc_bench.curvature import LayerBatch
from kfc_bench.experiments.fidelity.damped import Damped
from kfc_bench.experiments.fidelity.dense import dense_blocks
from kfc_bench.experiments.fidelity.ladder import ladder, nearest_kronecker
from kfc_bench.experiments.fidelity.moments import homogeneous, homogeneous_inputs, input_moments
from kfc_kernels import ConvGeometry
from tests.theory.maps import (
    every_shift,
    for_each_example,
    inside,
    locations,
    moved,
    offsets,
    one_location_each,
    random,
    same,
)

TIGHT = {"rtol": 1e-11, "atol": 1e-11}
SIZE, RADIUS = (4, 3), (1, 1)
LAYER = same(2, 3, SIZE, RADIUS)
STRIDED = ConvGeometry.conv(2, 3, (5, 4), 3, stride=2, padding=1, bias=True)
LINEAR = ConvGeometry.linear(4, 3, bias=True)


def batch_of(geometry, examples=4, vectors=2):
    inputs = random(examples, geometry.in_channels, *geometry.in_size)
    return LayerBatch(geometry, inputs, random(vectors, examples, geometry.out_channels, *geometry.out_size, seed=1))


def kfc(batch):
    return dense_blocks("kfc", [batch])[0]


def exact(batch):
    return dense_blocks("block_diagonal", [batch])[0]


def patch(batch, t):
    """Look up what a position of a 3x3 kernel of stride s and padding 1 sees, [N, D]."""
    geometry, a = batch.geometry, batch.inputs
    centre = tuple(s * x for s, x in zip(geometry.stride, t, strict=True))
    seen = [
        a[(slice(None), j, *moved(centre, d))]
        if inside(moved(centre, d), geometry.in_size)
        else torch.zeros(len(a)).double()
        for j in range(geometry.in_channels)
        for d in offsets((1, 1))
    ]
    return torch.stack([*seen, torch.ones(len(a)).double()], dim=1)


def vectors_at(batch, t):
    return batch.output_gradients[(slice(None), slice(None), slice(None), *t)]


def activations(batch, t, other):
    """E[a a'] of what two positions see."""
    return patch(batch, t).mT @ patch(batch, other) / len(batch.inputs)


def derivatives(batch, t, other):
    """E[Ds Ds'] at two positions."""
    return torch.einsum("vnk,vnl->kl", vectors_at(batch, t), vectors_at(batch, other)) / len(batch.inputs)


@pytest.mark.parametrize("geometry", [same(2, 3, (3, 3), (1, 1)), STRIDED], ids=["3x3", "strided"])
def test_lemma_1_is_the_sum_over_pairs_of_positions(geometry):
    batch = batch_of(geometry)
    pairs = itertools.product(locations(geometry.out_size), repeat=2)
    expected = sum(torch.kron(derivatives(batch, *pair), activations(batch, *pair)) for pair in pairs)
    assert_close(dict(ladder(batch))["iad"], expected, **TIGHT)


def by_displacement(batch):
    """Gamma(tau): the mean over pairs of positions that are tau apart."""
    found = {}
    for t, other in itertools.product(locations(batch.geometry.out_size), repeat=2):
        tau = tuple(b - a for a, b in zip(t, other, strict=True))
        found.setdefault(tau, []).append(derivatives(batch, t, other))
    return {tau: sum(values) / len(values) for tau, values in found.items()}


def test_homogeneous_derivatives_are_averaged_by_displacement():
    batch = batch_of(STRIDED)
    gamma = by_displacement(batch)
    expected = 0.0
    for t, other in itertools.product(locations(STRIDED.out_size), repeat=2):
        tau = tuple(b - a for a, b in zip(t, other, strict=True))
        expected = expected + torch.kron(gamma[tau], activations(batch, t, other))
    assert_close(dict(ladder(batch))["iad_sh"], expected, **TIGHT)


def count(tau, first, second):
    """n_tau(d, d'), with d None for the homogeneous coordinate."""
    total = 0
    for t in locations(SIZE):
        other = moved(t, tau)
        seen = all(d is None or inside(moved(at, d), SIZE) for at, d in ((t, first), (other, second)))
        total += inside(other, SIZE) and seen
    return total


def counts(tau):
    elements = [*offsets(RADIUS) * 2, None]
    return torch.tensor([[count(tau, first, second) for second in elements] for first in elements]).double()


def test_plugged_in_moments_of_a_constant_map_are_counts():
    vectors = batch_of(LAYER).output_gradients
    batch = LayerBatch(LAYER, torch.ones(4, 2, *SIZE).double(), vectors)
    found, gamma = dict(ladder(batch)), by_displacement(batch)
    # At no displacement the counts are beta.
    assert_close(found["kfc_plugin"], torch.kron(gamma[0, 0], counts((0, 0))), **TIGHT)
    expected = sum(torch.kron(value, counts(tau)) for tau, value in gamma.items())
    assert_close(found["iad_sh_plugin"], expected, **TIGHT)


def test_homogeneous_maps_are_what_their_average_is():
    batch = LayerBatch(LAYER, every_shift(random(2, 5, 4), SIZE), random(2, 20, 3, *SIZE, seed=1))
    own = input_moments(batch)
    assert_close(homogeneous_inputs(own, LAYER), own, **TIGHT)
    found = dict(ladder(batch))
    assert_close(found["kfc_plugin"], kfc(batch), **TIGHT)
    assert_close(found["iad_sh_plugin"], found["iad_sh"], **TIGHT)


def test_other_maps_are_not():
    batch = batch_of(LAYER)
    found = dict(ladder(batch))
    for name, other in (("kfc_plugin", kfc(batch)), ("iad_sh_plugin", found["iad_sh"]), ("iad_sh", found["iad"])):
        assert (found[name] - other).norm() > 0.05 * other.norm(), name


def test_averaging_keeps_each_displacement_s_sum():
    moments = random(6, 2, 6, 2)
    found = homogeneous(moments, (3, 2))
    assert_close(found[0, :, 1], moments[[0, 2, 4], :, [1, 3, 5]].mean(0), **TIGHT)
    assert_close(found.sum((0, 2)), moments.sum((0, 2)), **TIGHT)


def test_plugged_in_moments_can_be_indefinite_where_kfc_is_not():
    batch = batch_of(LAYER, examples=1)
    assert Damped.of(dict(ladder(batch))["kfc_plugin"], 1.0).indefinite > 0
    assert Damped.of(kfc(batch), 1.0).indefinite == 0


def test_independence_alone_makes_lemma_1_exact():
    inputs = random(5, 2, *SIZE)
    batch = LayerBatch(LAYER, inputs, for_each_example(random(3, 3, *SIZE, seed=1), len(inputs)))
    found = dict(ladder(batch))
    assert_close(found["iad"], exact(batch), **TIGHT)
    assert (found["iad_sh"] - exact(batch)).norm() > 0.05 * exact(batch).norm()


def test_with_every_assumption_all_are_exact():
    inputs = every_shift(random(2, 5, 4), SIZE)
    batch = LayerBatch(LAYER, inputs, for_each_example(one_location_each(random(3, 3), SIZE), len(inputs)))
    for name, matrix in (*ladder(batch), ("kfc", kfc(batch))):
        assert_close(matrix, exact(batch), **TIGHT, msg=name)


@pytest.mark.parametrize("geometry", [LINEAR, ConvGeometry.conv(2, 3, (3, 2), (3, 2), bias=True)], ids=["fc", "1x1"])
def test_one_position_leaves_independence_alone(geometry):
    batch = batch_of(geometry)
    found = dict(ladder(batch))
    assert_close(found["iad"], kfc(batch), **TIGHT)
    assert_close(found["iad_sh"], kfc(batch), **TIGHT)
    assert_close(found["iad_sh_plugin"], found["kfc_plugin"], **TIGHT)


def test_a_kronecker_product_is_found_again():
    gamma, omega = (values @ values.mT for values in (random(3, 3), random(5, 5, seed=1)))
    product = torch.kron(gamma, omega)
    assert_close(nearest_kronecker(product, 3), product, **TIGHT)


def test_no_product_is_closer_than_the_nearest():
    block = exact(batch_of(LAYER))
    nearest = nearest_kronecker(block, 3)
    error = (nearest - block).norm()
    assert error <= (kfc(batch_of(LAYER)) - block).norm()
    # At a minimum the error is orthogonal to changes of either factor.
    gamma, omega = nearest.view(3, 19, 3, 19)[:, 0, :, 0], nearest.view(3, 19, 3, 19)[0, :, 0]
    for change in (torch.kron(random(3, 3), omega), torch.kron(gamma, random(19, 19))):
        assert abs(float(((nearest - block) * change).sum())) < 1e-10 * float(block.norm() * change.norm())
