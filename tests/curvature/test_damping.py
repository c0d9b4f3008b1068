import pytest
import torch
from torch.testing import assert_close

from kfc_bench.curvature.damping import factored_tikhonov


def spd(*shape):
    rows = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))
    return rows @ rows.mT


def damped_product(omega, gamma, damping):
    shifts = factored_tikhonov(omega, gamma, damping)
    left, right = (
        matrix + shift * torch.eye(len(matrix)).double() for matrix, shift in zip((omega, gamma), shifts, strict=True)
    )
    return torch.kron(right, left)


def test_pi_comes_from_the_traces():
    omega, gamma, damping = spd(4, 4), spd(3, 3), 0.04
    pi = ((omega.trace() / 4) / (gamma.trace() / 3)).sqrt()
    input_shift, output_shift = factored_tikhonov(omega, gamma, damping)
    assert_close(input_shift, 0.2 * pi)
    assert_close(output_shift, 0.2 / pi)


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e4])
def test_the_damped_product_does_not_see_how_scale_is_split(scale):
    omega, gamma = spd(4, 4), spd(3, 3)
    assert_close(damped_product(scale * omega, gamma / scale, 0.1), damped_product(omega, gamma, 0.1))


def test_the_damped_product_sees_the_total_scale():
    omega, gamma = spd(4, 4), spd(3, 3)
    assert not torch.allclose(damped_product(2 * omega, gamma, 0.1), 2 * damped_product(omega, gamma, 0.1))


@pytest.mark.parametrize(("omega", "gamma"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_a_zero_trace_leaves_the_root(omega, gamma):
    shifts = factored_tikhonov(omega * spd(4, 4), gamma * spd(3, 3), 0.04)
    assert [float(shift) for shift in shifts] == pytest.approx([0.2, 0.2])


def test_each_group_has_its_own_pi():
    omega, gamma = spd(2, 4, 4), spd(2, 3, 3)
    omega[1] *= 100
    gamma[0] = 0
    together = factored_tikhonov(omega, gamma, 0.1)
    for group in range(2):
        alone = factored_tikhonov(omega[group], gamma[group], 0.1)
        assert_close([shift[group] for shift in together], list(alone))
