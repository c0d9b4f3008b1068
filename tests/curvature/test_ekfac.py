"""EKFAC's second moments: exact in the bases they are taken in, carried over when the bases turn."""

import pytest
import torch
from torch.testing import assert_close

from kfc_bench.curvature import APPROXIMATIONS
from tests.curvature.nets import diagonal_blocks, every_net, observed, parameter_blocks
from tests.curvature.test_approximation import batches, gradients, in_eigenbasis, observing


def matrices(curvature):
    """Rebuild each layer's matrix, group by group, from the bases that it is held in."""
    found = []
    for (_, _, correction), (input_basis, output_basis) in zip(curvature.statistics, curvature.inverses, strict=True):
        stacks = [value if value.ndim == 3 else value.unsqueeze(0) for value in (input_basis, output_basis, correction)]
        for right, left, moments in zip(*stacks, strict=True):
            bases = torch.kron(left, right)
            found.append(bases @ moments.flatten().diag() @ bases.T)
    return found


@every_net
def test_after_one_batch_it_is_closer_than_kfc_and_has_the_exact_trace(net):
    model, optimizer = observed(net, "ekfac")
    _, exact = observed(net, "exact")
    blocks = diagonal_blocks(exact.curvature.statistics[0][0], parameter_blocks(model))
    gains = []
    for (omega, gamma, correction), block in zip(optimizer.curvature.statistics, blocks, strict=True):
        if omega.ndim == 3:
            continue
        assert_close(correction.sum(), block.trace(), rtol=1e-10, atol=1e-12)
        error = (in_eigenbasis(omega, gamma, correction) - block).norm()
        gains.append(float((torch.kron(gamma, omega) - block).norm() - error))
    assert all(gain > -1e-12 for gain in gains)
    assert net.id not in ("conv-linear", "shared") or max(gains) > 1e-3


def test_refreshing_without_new_statistics_changes_no_matrix():
    curvature = observing("ekfac", 0)
    before = matrices(curvature)
    curvature.refresh()
    assert_close(matrices(curvature), before, rtol=1e-9, atol=1e-10)


def test_turned_bases_keep_the_trace_and_the_diagonal_in_them():
    curvature = observing("ekfac", 0, 1)
    before = matrices(curvature)
    curvature.refresh()
    after = matrices(curvature)
    assert_close([matrix.trace() for matrix in after], [matrix.trace() for matrix in before])
    assert any((old - new).norm() > 1e-2 * old.norm() for old, new in zip(before, after, strict=True))
    (input_basis, output_basis), correction = curvature.inverses[1], curvature.statistics[1][2]
    bases = torch.kron(output_basis, input_basis)
    assert_close((bases.T @ before[-1] @ bases).diagonal(), correction.flatten())


def test_new_second_moments_are_taken_in_the_current_bases():
    curvature = observing("ekfac", 0)
    curvature.refresh()
    old = curvature.statistics[1][2].clone()
    _, batch = batches(1)
    curvature.observe(batches(1))
    input_basis, output_basis = curvature.inverses[1]
    rows = batch.example_gradients().unflatten(2, old.shape)
    new = (output_basis.T @ rows @ input_basis).square().sum(0).mean(0)
    assert_close(curvature.statistics[1][2], (old + new) / 2)


@pytest.mark.parametrize("name", ["kfc_eigen", "ekfac"])
def test_no_negative_eigenvalue_is_divided_by(name):
    curvature = APPROXIMATIONS[name](damping=1e-6)
    curvature.observe(batches(0, size=1))
    curvature.refresh()
    assert all(natural.isfinite().all() for natural in curvature.precondition(gradients()))
