"""What eigendecompositions must agree in: not in signs, nor in what they find where eigenvalues coincide."""

import pytest
import torch

from kfc_bench.curvature import APPROXIMATIONS, LayerBatch
from kfc_bench.experiments.cost.eigen import decomposed, exact_condition
from kfc_bench.experiments.cost.measurement import Declined, open_case
from tests.experiments.cost_cases import GROUPED, PLAIN, cost_case

every_name = pytest.mark.parametrize("name", ["kfc_eigen", "ekfac"])
every_geometry = pytest.mark.parametrize("geometry", [PLAIN, GROUPED], ids=["plain", "groups"])


def observed(name, geometry, batch=8):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, geometry.in_channels, *geometry.in_size, generator=generator, dtype=torch.float64)
    vectors = torch.randn(1, batch, geometry.out_channels, *geometry.out_size, generator=generator, dtype=torch.float64)
    approximation = APPROXIMATIONS[name](damping=0.1)
    approximation.observe([LayerBatch(geometry, inputs, vectors)])
    approximation.refresh()
    return approximation


def bases(approximation):
    return approximation.inverses[0][:2]


def diagonal(approximation):
    return [*approximation.inverses[0], *approximation.statistics[0][2:]][2]


@every_geometry
@every_name
def test_signs_do_not_matter_and_the_factors_come_back(name, geometry):
    approximation = observed(name, geometry)
    before = decomposed(approximation)
    for factor, rebuilt in zip(approximation.statistics[0][:2], before[:2], strict=True):
        torch.testing.assert_close(rebuilt, factor)
    for basis in bases(approximation):
        basis[..., ::2] *= -1
    for one, other in zip(before, decomposed(approximation), strict=True):
        torch.testing.assert_close(one, other)


def test_the_moments_are_the_exact_fisher_s_whatever_basis_it_stands_in():
    """Where eigenvalues coincide any basis of their space is right, and EKFAC's diagonal is another one in each."""
    approximation = observed("ekfac", PLAIN)
    omega, _, diagonal = approximation.statistics[0]
    omega.copy_(torch.eye(28, dtype=torch.float64))
    rotation = torch.linalg.qr(torch.randn(28, 28, dtype=torch.float64))[0]
    fisher = torch.diag_embed(diagonal)  # a block of Omega for each row, in the bases as they are
    approximation.inverses[0][0] = torch.eye(28, dtype=torch.float64)
    before = decomposed(approximation)
    approximation.inverses[0][0] = rotation
    turned = (rotation.mT @ fisher @ rotation).diagonal(dim1=-2, dim2=-1)
    assert (turned - diagonal).abs().max() > 0.1 * diagonal.abs().max()
    approximation.statistics[0][2] = turned
    for one, other in zip(before, decomposed(approximation), strict=True):
        torch.testing.assert_close(one, other)


@every_geometry
@every_name
@pytest.mark.parametrize("wrong", ["basis", "diagonal", "order"])
def test_what_is_wrong_shows(name, geometry, wrong):
    approximation = observed(name, geometry)
    before = decomposed(approximation)
    if wrong == "basis":
        bases(approximation)[0][..., 0] *= 1.001
    elif wrong == "diagonal":
        diagonal(approximation).mul_(1.001)
    else:
        diagonal(approximation).copy_(diagonal(approximation).flip(-1))
    errors = [
        float((one - other).norm() / one.norm()) for one, other in zip(before, decomposed(approximation), strict=True)
    ]
    assert max(errors) > 1e-4


@every_name
def test_a_wrong_refresh_is_not_timed(name, monkeypatch):
    eigh = torch.linalg.eigh

    def off(matrix):
        values, vectors = eigh(matrix)
        return values, vectors * (1.001 if matrix.dtype == torch.float32 else 1)

    monkeypatch.setattr(torch.linalg, "eigh", off)
    measurement = open_case(cost_case(approximation=name, phase="refresh"))
    assert isinstance(measurement, Declined)
    assert measurement.record()["status"] == "wrong"


def test_a_wrong_turn_is_not_timed(monkeypatch):
    """Refreshing replaces EKFAC's diagonal: the check starts from the one before."""
    ekfac = APPROXIMATIONS["ekfac"]
    right = ekfac._refresh

    def off(self):
        right(self)
        for layer in self.statistics:
            layer[2] = layer[2] * (1.001 if layer[2].dtype == torch.float32 else 1)

    monkeypatch.setattr(ekfac, "_refresh", off)
    assert open_case(cost_case(approximation="ekfac", phase="refresh")).record()["status"] == "wrong"


@every_name
def test_the_condition_is_that_of_the_damped_block(name):
    approximation = observed(name, PLAIN)
    values = diagonal(approximation)
    assert exact_condition(approximation) == pytest.approx(float((values.max() + 0.1) / 0.1))
