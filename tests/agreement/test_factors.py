"""The Kronecker factors of every layer of a network, with the exact (type-2) Fisher: ours, and three libraries'."""

from __future__ import annotations

import pytest
import torch

from tests.agreement.peers import THEIR_WARNINGS, BackPACK, Curvlinops, NNGeometry
from tests.agreement.problems import CASES, assert_agrees

pytestmark = [*THEIR_WARNINGS, pytest.mark.usefixtures("double")]

TOLERANCE = 1e-12
every_case = pytest.mark.parametrize("case", CASES)
joint_libraries = pytest.mark.parametrize("library", [Curvlinops, NNGeometry])


def assert_factors_agree(problem, library, factors, statistics, scales=None):
    """Hold each layer's factors to ours in the library's scale."""
    positions = problem.positions()
    assert list(factors) == list(statistics)
    for name, (inputs, outputs) in factors.items():
        input_scale, output_scale = (scales or library.scales)(problem, positions[name])
        omega, gamma = statistics[name]
        assert_agrees(inputs, input_scale * omega, TOLERANCE)
        assert_agrees(outputs, output_scale * gamma, TOLERANCE)


@joint_libraries
@every_case
def test_factors_agree(library, case):
    problem = CASES[case].build()
    statistics, _ = problem.step()
    assert_factors_agree(problem, library, library(problem).factors(), statistics)


@joint_libraries
def test_two_batches_average_to_the_factors_of_both(library):
    problem = CASES["mixed"].build()
    statistics = problem.statistics_of_halves()
    assert_factors_agree(problem, library, library(problem, batches=2).factors(), statistics)


def without_bias(omega, layer):
    """Cut off the homogeneous coordinate."""
    return omega[:-1, :-1] if layer.bias is not None else omega


@every_case
def test_curvlinops_apart_is_ours_without_the_homogeneous_coordinate(case):
    problem = CASES[case].build()
    statistics, _ = problem.step()
    layers = problem.layers()
    cut = {name: [without_bias(omega, layers[name]), gamma] for name, (omega, gamma) in statistics.items()}
    assert_factors_agree(problem, Curvlinops, Curvlinops(problem, joint=False).factors(), cut)


@pytest.mark.parametrize("case", ["mixed", "mixed, square loss", "digits"])
def test_backpack_has_our_input_factors_and_the_exact_block_of_each_bias(case):
    problem = CASES[case].build()
    statistics, _ = problem.step()
    blocks, _ = problem.step(approximation="block_diagonal")
    for name, (inputs, outputs) in BackPACK(problem).factors().items():
        omega, gamma = statistics[name]
        assert_agrees(inputs, omega[:-1, :-1], TOLERANCE)
        assert_agrees(outputs, problem.case.mse * bias_block(blocks[name][0], len(gamma)), TOLERANCE)


def bias_block(block, outputs):
    """Read the bias's Fisher off a layer's block, which has the homogeneous coordinate last."""
    return block.view(outputs, len(block) // outputs, outputs, -1)[:, -1, :, -1]


def test_backpack_has_our_output_factor_where_there_is_one_position():
    problem = CASES["mixed without biases"].build()
    statistics, _ = problem.step()
    positions = problem.positions()
    factors = BackPACK(problem).factors()
    assert sorted(positions.values()) == [1, 1, 1, 4, 64]
    for name, (_, outputs) in factors.items():
        if positions[name] == 1:
            assert_agrees(outputs, statistics[name][1], TOLERANCE)
        else:
            assert (outputs - statistics[name][1]).norm() > statistics[name][1].norm()


def test_backpack_refuses_pooling_that_rounds_up():
    with pytest.raises(ValueError, match="output size"):
        BackPACK(CASES["cifar10"].build())


def one_sided(problem, positions):
    """Forget that curvlinops' output factor is a sum over positions."""
    inputs, outputs = Curvlinops.scales(problem, positions)
    return inputs, outputs / positions


def slightly_off(problem, positions):
    inputs, outputs = Curvlinops.scales(problem, positions)
    return inputs * (1 + 1e-9), outputs


@pytest.mark.parametrize("wrong", [NNGeometry.scales, one_sided, slightly_off])
def test_another_scale_would_be_caught(wrong):
    problem = CASES["mixed"].build()
    statistics, _ = problem.step()
    factors = Curvlinops(problem).factors()
    with pytest.raises(AssertionError, match="of its norm"):
        assert_factors_agree(problem, Curvlinops, factors, statistics, wrong)


def test_another_order_of_columns_would_be_caught():
    problem = CASES["mixed without biases"].build()
    statistics, _ = problem.step()
    omega, gamma = statistics["3"]
    swapped = torch.arange(len(omega)).view(4, 3, 2).mT.flatten()
    with pytest.raises(AssertionError, match="of its norm"):
        assert_factors_agree(
            problem,
            Curvlinops,
            Curvlinops(problem).factors(),
            {**statistics, "3": [omega[swapped][:, swapped], gamma]},
        )
