"""Theorems 1 and 2: beta, the Kronecker form, the assumptions that each needs, and why nothing is plugged in."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from kfc_kernels import ConvGeometry, block_fisher, input_factor, output_factor
from tests.theory.maps import (
    beta,
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
SHAPES = [
    pytest.param((5, 4), (2, 2), id="square-kernel"),
    pytest.param((6, 3), (2, 1), id="rectangular-kernel"),
    pytest.param((7,), (2,), id="1d"),
    pytest.param((3, 2, 4), (1, 0, 1), id="3d"),
]
every_shape = pytest.mark.parametrize(("size", "radius"), SHAPES)


def counted(size, first, second):
    return sum(inside(moved(t, first), size) and inside(moved(t, second), size) for t in locations(size))


@every_shape
def test_beta_counts_the_locations_where_both_offsets_stay_inside(size, radius):
    for first in offsets(radius):
        assert beta(size, first, first) == counted(size, first, first)
        for second in offsets(radius):
            assert beta(size, first, second) == counted(size, first, second)


def test_beta_is_printed_for_maps_at_least_as_wide_as_two_radii():
    assert beta((3,), (-2,), (2,)) == -1
    assert counted((3,), (-2,), (2,)) == 0


def expansion(a, size, radius):
    """[[A]]_H of Eq. 25, element by element, [N, |T|, D]; the paper puts the ones first, this library last."""
    rows = []
    for t in locations(size):
        row = [
            a[(slice(None), j, *moved(t, d))] if inside(moved(t, d), size) else a.new_zeros(len(a))
            for j in range(a.shape[1])
            for d in offsets(radius)
        ]
        rows.append(torch.stack([*row, a.new_ones(len(a))], dim=1))
    return torch.stack(rows, dim=1)


@every_shape
def test_theorem_2_omega_is_the_mean_square_of_the_expansion(size, radius):
    a = random(3, 2, *size)
    expanded = expansion(a, size, radius)
    expected = torch.einsum("ntd,nte->de", expanded, expanded) / len(a)
    assert_close(input_factor(a, same(2, 4, size, radius)), expected, **TIGHT)


def test_theorem_2_orders_omega_as_torch_unfolds_and_flattens_weights():
    a = random(3, 2, 6, 5)
    columns = functional.pad(functional.unfold(a, (5, 3), padding=(2, 1)), (0, 0, 0, 1), value=1.0)
    omega = input_factor(a, same(2, 4, (6, 5), (2, 1)))
    assert_close(omega, (columns @ columns.mT).mean(0), **TIGHT)
    weight, bias = random(4, 2, 5, 3, seed=1), random(4, seed=2)
    joint = torch.cat([weight.flatten(1), bias[:, None]], dim=1)
    outputs = functional.conv2d(a, weight, bias, padding=(2, 1))
    assert_close((joint @ omega @ joint.mT), torch.einsum("nkyx,nlyx->kl", outputs, outputs) / len(a), **TIGHT)


@every_shape
def test_theorem_2_gamma_is_a_mean_over_locations_and_examples(size, radius):
    vectors = random(3, 4, *size).flatten(2)
    expected = sum(v[:, t].outer(v[:, t]) for v in vectors for t in range(v.shape[1])) / (3 * vectors.shape[2])
    assert_close(output_factor(vectors.unflatten(2, size), same(2, 4, size, radius)), expected, **TIGHT)


def lag(first, second):
    return tuple(b - a for a, b in zip(first, second, strict=True))


def matrix(radius, entry):
    """Lay entry(d, d'), [J, J'] each, out as [J Delta, J' Delta]."""
    elements = offsets(radius)
    blocks = torch.stack([torch.stack([entry(first, second) for second in elements]) for first in elements])
    return blocks.permute(2, 0, 3, 1).flatten(2).flatten(0, 1)


@every_shape
def test_omega_sums_a_product_of_maps_by_lag_in_a_window(size, radius):
    a = random(3, 2, *size)
    padded = functional.pad(a, [r for r in reversed(radius) for _ in range(2)])
    products = {}

    def entry(first, second):
        by = lag(first, second)
        if by not in products:
            # What wraps around meets zeros.
            moved_by = padded.roll([-step for step in by], tuple(range(2, a.ndim)))
            products[by] = torch.einsum("nj...,nk...->jk...", padded, moved_by) / len(a)
        window = [slice(r + d, r + d + extent) for r, d, extent in zip(radius, first, size, strict=True)]
        return products[by][(..., *window)].flatten(2).sum(2)

    omega = input_factor(a, same(2, 4, size, radius))
    assert_close(omega[:-1, :-1], matrix(radius, entry), **TIGHT)
    assert len(products) < len(offsets(radius)) ** 2 / 2


SIZE, RADIUS = (4, 3), (1, 1)
LAYER = same(2, 3, SIZE, RADIUS)
MAPS = every_shift(random(2, 5, 4), SIZE)
ROOT = random(3, 3, seed=1)
UNCORRELATED = for_each_example(one_location_each(ROOT, SIZE), len(MAPS))


def by_theorem_1(torus, size, radius):
    """Eqs. 16 and 47 with the moments of a torus's shifts, for derivatives of covariance 1."""

    def entry(first, second):
        moved_by = torus.roll([-step for step in lag(first, second)], tuple(range(1, torus.ndim)))
        return beta(size, first, second) * torus.flatten(1) @ moved_by.flatten(1).mT / torus[0].numel()

    weights = matrix(radius, entry)
    mean = torus.flatten(1).mean(1)
    column = torch.cat([torch.stack([beta(size, d, d) * m for d in offsets(radius)]) for m in mean])
    count = torch.full((1,), float(len(list(locations(size)))), dtype=torus.dtype)
    return torch.cat([torch.cat([weights, column[:, None]], 1), torch.cat([column, count])[None]])


@every_shape
def test_omega_has_the_entries_of_theorem_1_on_homogeneous_maps(size, radius):
    torus = random(2, *(extent + 1 for extent in size))
    omega = input_factor(every_shift(torus, size), same(2, 4, size, radius))
    assert_close(omega, by_theorem_1(torus, size, radius), **TIGHT)


def test_omega_has_other_entries_on_maps_that_are_not_homogeneous():
    torus = random(2, *SIZE)
    omega = input_factor(torus[None], LAYER)
    assert (omega - by_theorem_1(torus, SIZE, RADIUS)).norm() > 0.1 * omega.norm()


def test_theorem_1_the_block_is_the_kronecker_product():
    block = block_fisher(MAPS, UNCORRELATED, LAYER)
    omega = by_theorem_1(random(2, 5, 4), SIZE, RADIUS)
    assert_close(block, torch.kron(ROOT @ ROOT.mT, omega), **TIGHT)
    assert_close(torch.kron(output_factor(UNCORRELATED, LAYER), input_factor(MAPS, LAYER)), block, **TIGHT)


def spatially_correlated():
    return MAPS, for_each_example(random(5, 3, *SIZE, seed=2), len(MAPS))


def dependent():
    scale = MAPS[:, 0, 0, 0].abs() + MAPS[:, 1, 1, 1].square()
    return MAPS, UNCORRELATED * scale.reshape(-1, 1, 1, 1)


def inhomogeneous():
    louder = torch.arange(1.0, 13.0, dtype=torch.float64).reshape(SIZE)
    return MAPS, UNCORRELATED * louder


@pytest.mark.parametrize("broken", [spatially_correlated, dependent, inhomogeneous])
def test_theorem_1_needs_each_assumption(broken):
    a, g = broken()
    block = block_fisher(a, g, LAYER)
    assert (torch.kron(output_factor(g, LAYER), input_factor(a, LAYER)) - block).norm() > 0.03 * block.norm()


def test_theorem_1_with_omega_of_theorem_2_needs_no_homogeneous_activations():
    a = random(6, 2, *SIZE, seed=3)
    g = for_each_example(one_location_each(ROOT, SIZE), len(a))
    product = torch.kron(output_factor(g, LAYER), input_factor(a, LAYER))
    assert_close(product, block_fisher(a, g, LAYER), **TIGHT)


def by_lemma_1(a, g):
    expanded, derivatives = expansion(a, SIZE, RADIUS), g.flatten(3)
    activations = torch.einsum("ntd,nue->tude", expanded, expanded) / len(a)
    covariance = torch.einsum("vnit,vnku->tuik", derivatives, derivatives) / len(a)
    return torch.einsum("tude,tuik->idke", activations, covariance).flatten(2).flatten(0, 1)


@pytest.mark.parametrize("broken", [spatially_correlated, inhomogeneous])
def test_lemma_1_needs_only_independence(broken):
    a, g = broken()
    assert_close(by_lemma_1(a, g), block_fisher(a, g, LAYER), **TIGHT)


def test_lemma_1_needs_independence():
    a, g = dependent()
    block = block_fisher(a, g, LAYER)
    assert (by_lemma_1(a, g) - block).norm() > 0.03 * block.norm()


def test_plugged_in_autocovariances_are_indefinite_where_omega_is_not():
    row = torch.tensor([1.0, 2.0, 2.0, 1.0], dtype=torch.float64)

    def entry(first, second):
        step = abs(second[0] - first[0])
        pairs = row[: len(row) - step] * row[step:]
        return (beta((4,), first, second) * pairs.mean()).reshape(1, 1)

    plugged_in = matrix((1,), entry)
    geometry = ConvGeometry.conv(1, 1, (4,), 3, padding="same")
    omega = input_factor(row.reshape(1, 1, 4), geometry)
    assert torch.linalg.eigvalsh(plugged_in)[0] < -0.1
    assert torch.linalg.eigvalsh(omega)[0] > 0.05
