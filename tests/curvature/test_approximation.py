"""Running averages, inverses and preconditioning, whatever the approximation."""

import copy

import pytest
import torch
from torch.testing import assert_close

from kfc_bench.curvature import APPROXIMATIONS, LayerBatch
from kfc_bench.curvature.damping import factored_tikhonov
from kfc_kernels import ConvGeometry
from tests.curvature.nets import DAMPING, every_net, observed

every_approximation = pytest.mark.parametrize("name", APPROXIMATIONS)
GEOMETRIES = [
    ConvGeometry.conv(2, 4, (4, 3), 3, padding=1, groups=2, bias=True),
    ConvGeometry.linear(3, 2, bias=True),
]


def batches(seed, geometries=GEOMETRIES, size=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, dtype=dtype, generator=generator)

    return [
        LayerBatch(
            geometry,
            normal(size, geometry.in_channels, *geometry.in_size),
            normal(2, size, geometry.out_channels, *geometry.out_size),
        )
        for geometry in geometries
    ]


def gradients(seed=9, geometries=GEOMETRIES):
    generator = torch.Generator().manual_seed(seed)
    shapes = [geometry.grouped(geometry.group_outputs, geometry.patch_dim) for geometry in geometries]
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]


def observing(name, *seeds, decay=0.95, damping=0.1):
    approximation = APPROXIMATIONS[name](damping=damping, decay=decay)
    for seed in seeds:
        approximation.observe(batches(seed))
    return approximation


@every_approximation
def test_running_average_by_hand(name):
    decay = 0.6
    alone = [observing(name, seed).statistics for seed in range(4)]
    mean = alone[0]
    for k, new in enumerate(alone[1:], start=2):
        e = min(1 - 1 / k, decay)
        assert e == [0.5, 0.6, 0.6][k - 2]
        mean = [
            [e * old + (1 - e) * now for old, now in zip(*layer, strict=True)] for layer in zip(mean, new, strict=True)
        ]
    together = observing(name, *range(4), decay=decay)
    assert together.observations == 4
    # The bases of EKFAC's second moments are those of the first batch: tests/curvature/test_ekfac.py has them.
    kept = slice(2) if name == "ekfac" else slice(None)
    assert_close([layer[kept] for layer in together.statistics], [layer[kept] for layer in mean])


@every_approximation
def test_a_layer_that_misses_a_batch_keeps_its_statistics_and_its_count(name):
    if name == "exact":
        pytest.skip("takes all layers together")
    curvature = observing(name, 0)
    before = copy.deepcopy(curvature.statistics)
    first, second = batches(1)
    curvature.observe([None, second])
    assert curvature.seen == [1, 2]
    assert_close(curvature.statistics[0], before[0], rtol=0, atol=0)
    assert name == "identity" or not torch.equal(curvature.statistics[1][0], before[1][0])
    curvature.observe([first, None])
    curvature.refresh()
    natural, nothing = curvature.precondition([gradients()[0], None])
    assert nothing is None
    assert_close(natural, curvature.precondition(gradients())[0], rtol=0, atol=0)


def test_the_exact_fisher_needs_every_layer():
    with pytest.raises(RuntimeError, match="needs every layer in every batch"):
        APPROXIMATIONS["exact"](damping=0.1).observe([batches(0)[0], None])


@every_approximation
def test_state_goes_round(name):
    original = observing(name, 0, 1)
    original.refresh()
    restored = APPROXIMATIONS[name](damping=0.1)
    restored.load_state_dict(copy.deepcopy(original.state_dict()))
    for approximation in (original, restored):
        approximation.observe(batches(2))
    assert_close(restored.statistics, original.statistics, rtol=0, atol=0)
    assert_close(restored.precondition(gradients()), original.precondition(gradients()), rtol=0, atol=0)


@every_approximation
def test_refresh_needs_statistics(name):
    with pytest.raises(RuntimeError, match="before any observe"):
        APPROXIMATIONS[name](damping=0.1).refresh()


@every_approximation
@pytest.mark.parametrize("damping", [0.0, -1.0, float("nan")])
def test_damping_must_be_positive(name, damping):
    with pytest.raises(ValueError, match="damping must be positive"):
        APPROXIMATIONS[name](damping=damping)


def damped(matrix, shift=DAMPING):
    return matrix + shift * torch.eye(len(matrix), dtype=matrix.dtype)


def factored(omega, gamma):
    input_shift, output_shift = factored_tikhonov(omega, gamma, DAMPING)
    return torch.kron(damped(gamma, output_shift), damped(omega, input_shift))


def channels_as_patches(moments, geometry, weight):
    """Write Sigma (x) I + mu mu^T (x) 11^T out, the homogeneous coordinate last, times a weight."""
    moments = moments / moments[-1, -1]
    mean, elements = moments[:-1, -1], geometry.kernel_elements
    sigma = moments[:-1, :-1] - torch.outer(mean, mean)
    one = torch.ones(elements, dtype=mean.dtype)
    patch = torch.kron(mean, one)
    omega = torch.kron(sigma, torch.eye(elements).double()) + torch.outer(patch, patch)
    if geometry.bias:
        omega = torch.cat([torch.cat([omega, patch.unsqueeze(1)], 1), torch.cat([patch, one[:1]]).unsqueeze(0)])
    return weight * omega


def mini_blocks(statistics, geometry):
    blocks, *biases = statistics
    if geometry.kernel_elements == 1:
        return torch.block_diag(*[damped(blocks)] * geometry.group_outputs)
    rows = []
    for output, kernels in enumerate(blocks):
        rows += [damped(kernel) for kernel in kernels]
        rows += [damped(bias[output].reshape(1, 1)) for bias in biases]
    return torch.block_diag(*rows)


DENSE = {
    "kfc": lambda statistics, _: factored(*statistics),
    "kfc_reduce": lambda statistics, _: factored(*statistics),
    "kfc_eigen": lambda statistics, _: damped(torch.kron(statistics[1], statistics[0])),
    "ekfac": lambda statistics, _: damped(in_eigenbasis(*statistics)),
    "sua": lambda statistics, geometry: factored(
        channels_as_patches(statistics[0], geometry, geometry.positions), statistics[1]
    ),
    "prong": lambda statistics, geometry: torch.kron(
        torch.eye(geometry.group_outputs).double(), damped(channels_as_patches(statistics[0], geometry, 1.0))
    ),
    "mini_block": mini_blocks,
    "diagonal": lambda statistics, _: damped(statistics[0].flatten().diag()),
    "block_diagonal": lambda statistics, _: damped(statistics[0]),
}


def in_eigenbasis(omega, gamma, correction):
    bases = torch.kron(torch.linalg.eigh(gamma).eigenvectors, torch.linalg.eigh(omega).eigenvectors)
    return bases @ correction.flatten().diag() @ bases.T


def dense_blocks(name, curvature, geometries):
    """Write the damped approximation out as dense matrices, one per group, layer after layer."""
    if name == "exact":
        ((fisher,),) = curvature.statistics
        return damped(fisher)
    blocks = []
    for statistics, geometry in zip(curvature.statistics, geometries, strict=True):
        groups = zip(*statistics, strict=True) if geometry.groups > 1 else [statistics]
        blocks += [DENSE[name](group, geometry) for group in groups]
    return torch.block_diag(*blocks)


@every_net
@pytest.mark.parametrize("name", [name for name in APPROXIMATIONS if name != "identity"])
def test_preconditioning_solves_the_damped_system(net, name):
    _, optimizer = observed(net, name)
    curvature = optimizer.curvature
    curvature.refresh()
    rows = [layer.gradient() for layer in optimizer._layers]
    flat = torch.cat([row.flatten() for row in rows])
    natural = torch.cat([row.flatten() for row in curvature.precondition(rows)])
    matrix = dense_blocks(name, curvature, net.geometries())
    assert_close(natural, torch.linalg.solve(matrix, flat), rtol=1e-9, atol=1e-12)


def test_identity_returns_the_gradients():
    curvature = observing("identity", 0)
    curvature.refresh()
    rows = gradients()
    assert all(natural is row for natural, row in zip(curvature.precondition(rows), rows, strict=True))


@every_approximation
def test_inverses_stay_until_refreshed(name):
    curvature = observing(name, 0)
    curvature.refresh()
    before = curvature.precondition(gradients())
    curvature.observe(batches(1))
    after = curvature.precondition(gradients())
    if name == "mini_block":  # whose biases have their diagonal
        before, after = ([rows[0][..., :-1], rows[1]] for rows in (before, after))
    stays = name not in ("diagonal", "ekfac")
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True)) is stays


def test_a_matrix_that_needs_more_damping_is_counted():
    curvature = observing("kfc", 0)
    curvature.refresh()
    assert curvature.raised == 0
    curvature.statistics[1][1] = torch.diag(torch.tensor([-1.0, 1.0], dtype=torch.float64))
    for _ in range(2):
        curvature.refresh()
    assert curvature.raised == 2
    assert all(inverse.isfinite().all() for layer in curvature.inverses for inverse in layer)
    assert curvature.state_dict()["raised"] == 2


def test_inverses_by_iteration_start_from_the_last():
    curvature = APPROXIMATIONS["kfc"](damping=DAMPING, inverse="newton")
    for seed in range(2):
        curvature.observe(batches(seed))
        curvature.refresh()
    direct = observing("kfc", 0, 1, damping=DAMPING)
    direct.refresh()
    assert_close(curvature.inverses, direct.inverses, rtol=1e-8, atol=1e-10)
