"""Preconditioned gradients of every parameter: what our optimizer steps by, and what three libraries' solves return."""

from __future__ import annotations

import math

import pytest
import torch

from tests.agreement.peers import THEIR_WARNINGS, BackPACK, Curvlinops, NNGeometry, mean_diagonal
from tests.agreement.problems import CASES, assert_agrees
from tests.agreement.test_factors import bias_block, without_bias

pytestmark = [*THEIR_WARNINGS, pytest.mark.usefixtures("double")]

TOLERANCE = 1e-10
DAMPING = 1e-2


def assert_all_agree(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert_agrees(found[name], value, TOLERANCE)


LIBRARIES = {
    "curvlinops": lambda problem, damping: Curvlinops(problem).natural(damping, use_heuristic_damping=True),
    "nngeometry": lambda problem, damping: NNGeometry(problem).natural(damping),
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("damping", [1e-1, 1e-4])
@pytest.mark.parametrize("case", CASES)
def test_natural_gradients_agree(library, case, damping):
    """Both damp as we do: factors scaled by c and 1/c have pi scaled by c, so the same damping is the same step."""
    problem = CASES[case].build()
    _, natural = problem.step(damping=damping)
    assert_all_agree(LIBRARIES[library](problem, damping), natural)


def test_another_damping_would_be_caught():
    problem = CASES["mixed"].build()
    _, natural = problem.step(damping=DAMPING)
    with pytest.raises(AssertionError, match="of its norm"):
        assert_all_agree(LIBRARIES["curvlinops"](problem, DAMPING * (1 + 1e-7)), natural)


def shifted(factor, shift):
    return factor + shift * torch.eye(len(factor))


def pi_of(omega, gamma):
    return math.sqrt(mean_diagonal(omega) / mean_diagonal(gamma))


def solve_factored(omega, gamma, gradient, damping):
    """Solve with both factors shifted, Gamma's by sqrt(damping)/pi."""
    root, pi = math.sqrt(damping), pi_of(omega, gamma)
    solved = torch.linalg.solve(shifted(gamma, root / pi), gradient)
    return torch.linalg.solve(shifted(omega, root * pi), solved, left=False)


def solve_exactly(omega, gamma, gradient, damping):
    """Solve with the damping added to the Kronecker product itself."""
    block = shifted(torch.kron(gamma, omega), damping)
    return torch.linalg.solve(block, gradient.flatten()).view_as(gradient)


def apart_factored(omega, gamma, weight, bias, positions):
    """Solve for weight and bias apart; curvlinops' bias has G, |T| Gamma, with the shift that its weight gave it."""
    corner = omega[:-1, :-1]
    shift = math.sqrt(DAMPING) / pi_of(corner, gamma)
    return solve_factored(corner, gamma, weight, DAMPING), torch.linalg.solve(shifted(gamma, shift), bias) / positions


def apart_exactly(omega, gamma, weight, bias, positions):
    """Solve for weight and bias apart, the damping on each block."""
    of_bias = torch.linalg.solve(shifted(positions * gamma, DAMPING), bias)
    return solve_exactly(omega[:-1, :-1], gamma, weight, DAMPING), of_bias


RULES = {
    "factored, apart": ({"use_heuristic_damping": True}, apart_factored),
    "exact, apart": ({"use_exact_damping": True}, apart_exactly),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", ["mixed", "mixed, square loss", "digits"])
def test_curvlinops_other_rules_are_solves_with_our_factors(case, rule):
    options, by_hand = RULES[rule]
    problem = CASES[case].build()
    statistics, _ = problem.step()
    gradients, positions, expected = problem.gradients(), problem.positions(), {}
    for name, (omega, gamma) in statistics.items():
        weight, bias = gradients[f"{name}.weight"], gradients[f"{name}.bias"]
        of_weight, of_bias = by_hand(omega, gamma, weight.flatten(1), bias, positions[name])
        expected |= {f"{name}.weight": of_weight.view_as(weight), f"{name}.bias": of_bias}
    assert_all_agree(Curvlinops(problem, joint=False).natural(DAMPING, **options), expected)


@pytest.mark.parametrize("damping", [1e-1, 1e-3])
@pytest.mark.parametrize("case", ["mixed", "mixed without biases", "mixed, square loss", "digits"])
def test_exact_damping_agrees(case, damping):
    problem = CASES[case].build()
    _, natural = problem.step(approximation="kfc_eigen", damping=damping)
    assert_all_agree(Curvlinops(problem).natural(damping, use_exact_damping=True), natural)


def test_backpack_steps_as_we_do_where_there_is_one_position():
    problem = CASES["mixed without biases"].build()
    _, natural = problem.step(damping=DAMPING)
    positions, found = problem.positions(), BackPACK(problem).natural(DAMPING)
    single = [f"{name}.weight" for name, count in positions.items() if count == 1]
    assert len(single) == 3
    assert_all_agree({name: found[name] for name in single}, {name: natural[name] for name in single})


@pytest.mark.parametrize("case", ["mixed", "mixed, square loss", "digits"])
def test_backpack_solves_with_our_input_factor_and_our_block_of_the_bias(case):
    """Its weight has Omega beside the bias's exact block, shifted by pi; its bias that block plus the damping."""
    problem = CASES[case].build()
    statistics, _ = problem.step()
    blocks, _ = problem.step(approximation="block_diagonal")
    gradients, layers, expected = problem.gradients(), problem.layers(), {}
    for name, (omega, gamma) in statistics.items():
        weight, bias = gradients[f"{name}.weight"], gradients[f"{name}.bias"]
        of_bias = bias_block(blocks[name][0], len(gamma))
        solved = solve_factored(without_bias(omega, layers[name]), of_bias, weight.flatten(1), DAMPING)
        expected[f"{name}.weight"] = solved.view_as(weight)
        expected[f"{name}.bias"] = torch.linalg.solve(shifted(of_bias, DAMPING), bias)
    assert_all_agree(BackPACK(problem).natural(DAMPING), expected)
