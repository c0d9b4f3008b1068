"""What is measured of an approximation, against torch's distributions and against a quadratic loss."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from kfc_bench.experiments.fidelity.compare import INDEFINITE, NO_DECREASE, NO_GRADIENT, Exact, compare
from kfc_bench.experiments.fidelity.damped import Damped
from tests.theory.maps import random

DAMPING = 0.1
SIZE = 6


def second_moments(seed, size=SIZE):
    rows = random(2 * size, size, seed=seed)
    return rows.mT @ rows / len(rows)


def exact_of(matrix, *, kl=1e-3, loss=None):
    """Stand for a network whose loss is the quadratic model itself, unless another is given."""
    metric = matrix + DAMPING * torch.eye(len(matrix)).double()
    gradient = random(len(matrix), seed=5)

    def quadratic(step):
        return float(1.0 - gradient @ step + step @ metric @ step / 2)

    return Exact(Damped.of(matrix, DAMPING), gradient, kl, loss or quadratic, 1.0)


EXACT = exact_of(second_moments(0))


def normal(damped):
    return MultivariateNormal(torch.zeros(len(damped.matrix)).double(), damped.sum)


def test_the_exact_matrix_has_no_error():
    row = compare(EXACT, Damped.of(second_moments(0), DAMPING))
    assert row["frobenius"] == 0
    assert row["indefinite"] == 0
    assert row["stein"] == pytest.approx(0, abs=1e-12)
    assert row["kl"] == pytest.approx(0, abs=1e-12)
    for share in ("trace_ratio", "cosine", "model_decrease", "loss_decrease"):
        assert row[share] == pytest.approx(1, abs=1e-12)


def test_divergences_are_those_of_normal_distributions():
    found = Damped.of(second_moments(1), DAMPING)
    row = compare(EXACT, found)
    own, other = normal(EXACT.damped), normal(found)
    assert row["kl"] == pytest.approx(float(kl_divergence(own, other)), rel=1e-9)
    assert row["stein"] == pytest.approx(2 * float(kl_divergence(other, own)), rel=1e-9)
    assert abs(2 * row["kl"] - row["stein"]) > 0.1 * row["stein"]


def test_where_the_gradient_is_zero_there_is_no_step():
    still = Exact(EXACT.damped, torch.zeros(SIZE).double(), 1e-3, lambda _: 1.0, 1.0)
    found = Damped.of(second_moments(1), DAMPING)
    row, moving = compare(still, found), compare(EXACT, found)
    assert row["note"] == NO_GRADIENT
    assert [row[name] for name in ("cosine", "model_decrease", "loss_decrease")] == [None] * 3
    assert [row[name] for name in ("stein", "kl")] == [moving[name] for name in ("stein", "kl")]


def test_a_matrix_of_another_scale_turns_no_step():
    row = compare(EXACT, Damped.of(3 * second_moments(0) + 2 * DAMPING * torch.eye(SIZE).double(), DAMPING))
    assert row["cosine"] == pytest.approx(1)
    assert row["model_decrease"] == pytest.approx(1)
    twice = compare(EXACT, Damped.of(2 * second_moments(0), DAMPING))
    assert twice["frobenius"] == pytest.approx(1)
    assert twice["trace_ratio"] == pytest.approx(2)


@pytest.mark.parametrize("seed", range(1, 6))
def test_no_step_gains_more_than_the_exact_one_of_equal_size(seed):
    natural = Damped.of(second_moments(seed), DAMPING).inverse @ EXACT.gradient
    step = EXACT.step(natural)
    assert float(step @ EXACT.metric @ step) / 2 == pytest.approx(EXACT.kl)
    row = compare(EXACT, Damped.of(second_moments(seed), DAMPING))
    assert row["model_decrease"] < 1
    # The loss is the model here.
    assert row["loss_decrease"] == pytest.approx(row["model_decrease"])


def test_a_step_ends_at_the_model_s_minimum():
    far = exact_of(second_moments(0), kl=1e6)
    torch.testing.assert_close(far.step(far.natural), far.natural)
    assert far.size == pytest.approx(float(far.gradient @ far.natural) / 2)


def test_what_is_indefinite_is_counted_and_takes_no_step():
    indefinite = second_moments(0).clone()
    indefinite[0, 0] -= 10
    row = compare(EXACT, Damped.of(indefinite, DAMPING))
    assert row["indefinite"] == 1
    assert row["note"] == INDEFINITE
    assert [row[name] for name in ("stein", "kl", "cosine", "model_decrease", "loss_decrease")] == [None] * 5
    assert row["frobenius"] == pytest.approx(10 / float(second_moments(0).norm()))


def test_damping_can_make_it_definite():
    values = torch.tensor([-0.05, 1.0, 2.0, 3.0, 4.0, 5.0]).double()
    row = compare(EXACT, Damped.of(values.diag(), DAMPING))
    assert row["indefinite"] == 1
    assert row["kl"] > 0


def test_rounding_is_not_taken_for_a_negative_eigenvalue():
    assert Damped.of(random(SIZE, 1) @ random(SIZE, 1).mT, DAMPING).indefinite == 0


def test_blocks_are_put_together():
    blocks = [Damped.of(second_moments(seed, size), DAMPING) for seed, size in ((1, 2), (2, 4))]
    joined = Damped.joined(blocks)
    whole = Damped.of(torch.block_diag(*(block.matrix for block in blocks)), DAMPING)
    torch.testing.assert_close(joined.inverse, whole.inverse)
    torch.testing.assert_close(joined.values.sort().values, whole.values)
    assert joined.log_determinant == pytest.approx(whole.log_determinant)
    broken = Damped.of(-torch.eye(2).double(), DAMPING)
    assert Damped.joined([*blocks, broken]).inverse is None
    assert math.isnan(Damped.joined([*blocks, broken]).log_determinant)


def test_a_loss_that_rises_has_no_share():
    row = compare(exact_of(second_moments(0), loss=lambda _: 2.0), Damped.of(second_moments(1), DAMPING))
    assert row["loss_decrease"] is None
    assert row["note"] == NO_DECREASE
    assert row["model_decrease"] < 1
