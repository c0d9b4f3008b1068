"""Damped inverses: every implementation against float64, warm starts, and matrices that are not positive definite."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from kfc_kernels import UnsupportedError, damped_inverse
from kfc_kernels.damped_inverse import OPERATOR, NotInvertibleError, newton

IMPLEMENTATIONS = [entry.name for entry in OPERATOR.table]
every_implementation = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def positive_definite(*shape, seed=0):
    generator = torch.Generator().manual_seed(sum(shape) + seed)
    root = torch.randn(*shape, shape[-1] + 2, dtype=torch.float64, generator=generator)
    return root @ root.mT


def with_condition(size, condition):
    generator = torch.Generator().manual_seed(size)
    basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))[0]
    return basis * torch.logspace(0, -math.log10(condition), size, dtype=torch.float64) @ basis.mT


def residual(matrix, shift, inverse):
    """Compute ||I - A X||_F / sqrt(n) in float64, the largest of any group."""
    identity = torch.eye(matrix.shape[-1], dtype=torch.float64)
    shift = torch.as_tensor(shift, dtype=torch.float64)[..., None, None]
    product = (matrix.double() + shift * identity) @ inverse.double()
    return float(torch.linalg.matrix_norm(identity - product).max()) / math.sqrt(len(identity))


@every_implementation
@every_dtype
def test_unlike_sizes_groups_and_shifts(implementation, dtype):
    sizes = [(1,), (5,), (3, 4), (4,), (2, 5)]
    matrices = [positive_definite(*size).to(dtype) for size in sizes] + [torch.zeros(2, 2, dtype=dtype)]
    originals = [matrix.clone() for matrix in matrices]
    shifts = [0.5, torch.tensor(0.25), torch.tensor([0.1, 1.0, 10.0]), 0.1, torch.tensor([0.3, 0.2]), 2]
    found = damped_inverse(matrices, shifts, implementation=implementation)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    for matrix, original, shift, inverse, used in zip(
        matrices, originals, shifts, found.inverses, found.shifts, strict=True
    ):
        assert (inverse.dtype, inverse.shape) == (dtype, matrix.shape)
        assert residual(matrix, shift, inverse) < tolerance
        assert_close(inverse, inverse.mT, rtol=tolerance, atol=tolerance)
        assert_close(used, torch.as_tensor(shift, dtype=dtype))
        assert torch.equal(matrix, original)
    assert found.raised == 0


@every_implementation
@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5])
def test_float32_against_the_inverse_in_float64(implementation, condition):
    matrix = with_condition(64, condition)
    (inverse,) = damped_inverse([matrix.float()], [0.0], implementation=implementation).inverses
    exact = torch.linalg.inv(matrix.float().double())
    error = torch.linalg.matrix_norm(inverse.double() - exact) / torch.linalg.matrix_norm(exact)
    assert error < 4 * condition * torch.finfo(torch.float32).eps


@given(st.integers(1, 6), st.integers(0, 10**6), st.floats(1e-3, 1e3), st.sampled_from(IMPLEMENTATIONS))
@settings(deadline=None, max_examples=60)
def test_small_matrices(size, seed, shift, implementation):
    matrix = positive_definite(size, seed=seed)
    found = damped_inverse([matrix], [shift], implementation=implementation)
    assert found.raised == 0
    assert residual(matrix, shift, found.inverses[0]) < 1e-9


@every_implementation
def test_matrices_of_one_size_are_inverted_in_one_call(implementation, monkeypatch):
    calls = []
    load = type(OPERATOR.table[0]).load

    def counting(entry):
        run = load(entry)
        return lambda stack, *rest: calls.append(len(stack)) or run(stack, *rest)

    monkeypatch.setattr(type(OPERATOR.table[0]), "load", counting)
    matrices = [positive_definite(*shape) for shape in ((3,), (4,), (2, 3))]
    damped_inverse(matrices, [1.0, 1.0, 1.0], implementation=implementation)
    assert calls == [3, 1]


def test_newton_says_its_residual():
    matrix = with_condition(32, 1e3).float()
    found = damped_inverse([matrix, torch.stack([matrix, matrix])], [0.0, 0.0], implementation="newton")
    assert found.residuals[0] == pytest.approx(residual(matrix, 0.0, found.inverses[0]), rel=0.5)
    assert [part.shape for part in found.residuals] == [part.shape for part in found.iterations] == [(), (2,)]
    direct = damped_inverse([matrix], [0.0], implementation="cholesky")
    assert math.isnan(direct.residuals[0])
    assert direct.iterations[0] == 0


@every_dtype
def test_a_warm_start_takes_fewer_iterations(dtype):
    old, drift = positive_definite(40).to(dtype), positive_definite(40, seed=1).to(dtype)
    new = 0.95 * old + 0.05 * drift
    previous = damped_inverse([old], [5.0]).inverses
    cold = damped_inverse([new], [5.0], implementation="newton")
    warm = damped_inverse([new], [5.0], previous=previous, implementation="newton")
    assert warm.iterations[0] < cold.iterations[0]
    assert_close(warm.inverses[0], cold.inverses[0], rtol=1e-4, atol=1e-6)
    same = damped_inverse([new], [5.0], previous=warm.inverses, implementation="newton")
    assert same.iterations[0] <= 1


@pytest.mark.parametrize(
    "previous",
    [
        pytest.param(1e3 * torch.eye(8), id="much too large"),
        pytest.param(-torch.eye(8), id="negative"),
        pytest.param(torch.zeros(8, 8), id="nothing"),
        pytest.param(torch.full((8, 8), torch.nan), id="nan"),
        pytest.param(torch.diag(torch.tensor([1.0, -1.0] * 4)), id="indefinite"),
    ],
)
def test_a_start_that_does_not_contract_does_no_harm(previous):
    matrix = positive_definite(8)
    found = damped_inverse([matrix], [0.1], previous=[previous.double()], implementation="newton")
    assert found.raised == 0
    assert residual(matrix, 0.1, found.inverses[0]) < 1e-10


def test_newton_reaches_what_cholesky_does_in_float64():
    matrix = with_condition(24, 1e12)
    found = damped_inverse([matrix], [0.0], implementation="newton")
    assert found.raised == 0
    assert found.iterations[0] < newton.MOST_ITERATIONS
    direct = damped_inverse([matrix], [0.0], implementation="cholesky")
    assert residual(matrix, 0.0, found.inverses[0]) < 100 * residual(matrix, 0.0, direct.inverses[0])


INDEFINITE = {
    "zero": torch.zeros(3, 3),
    "negative": torch.diag(torch.tensor([-1.0, 1.0, 2.0])),
    "swap": torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    "large": -1e20 * torch.eye(3),
}


@pytest.mark.parametrize("implementation", ["cholesky", "reference", "newton"])
@pytest.mark.parametrize("name", INDEFINITE)
@pytest.mark.parametrize("shift", [0.0, 2e-3])
@every_dtype
def test_a_matrix_that_is_not_positive_definite_gets_damping_and_is_counted(implementation, name, shift, dtype):
    if (name, shift) == ("zero", 2e-3):
        pytest.skip("positive definite")
    matrices = [torch.eye(3), torch.stack([torch.eye(3), INDEFINITE[name]])]
    matrices = [matrix.to(dtype) for matrix in matrices]
    found = damped_inverse(matrices, [shift, shift], implementation=implementation)
    assert found.raised == 1
    assert_close(found.shifts[0], torch.tensor(shift, dtype=dtype), rtol=0, atol=0)
    assert found.shifts[1][1] > found.shifts[1][0] == found.shifts[0]
    for matrix, used, inverse in zip(matrices, found.shifts, found.inverses, strict=True):
        assert residual(matrix, used, inverse) < 1e-2
        assert (torch.linalg.eigvalsh(inverse) > 0).all()


def test_eigendecomposition_reads_negative_eigenvalues_as_zero():
    matrix = torch.diag(torch.tensor([-1e-9, 1.0]))
    found = damped_inverse([matrix], [0.5], implementation="eigendecomposition")
    assert_close(found.inverses[0], torch.diag(torch.tensor([2.0, 2 / 3])))
    assert found.raised == 0
    assert damped_inverse([matrix], [0.0], implementation="eigendecomposition").raised == 1


@every_implementation
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(implementation, value):
    bad = torch.eye(3)
    bad[0, 2] = value
    with pytest.raises(NotInvertibleError, match="matrix 1 of size 3 holds values that are not finite"):
        damped_inverse([torch.eye(3), bad], [0.0, 0.0], implementation=implementation)
    with pytest.raises(NotInvertibleError, match="a shift of size 3 holds values that are not finite"):
        damped_inverse([torch.eye(3)], [value], implementation=implementation)


@every_implementation
def test_values_too_large_to_invert_are_refused(implementation):
    with pytest.raises(NotInvertibleError, match="a matrix of size 3 holds values that are too large"):
        damped_inverse([torch.full((3, 3), -3e38)], [0.0], implementation=implementation)


@pytest.mark.parametrize("shape", [(2, 3), (4,), (1, 1, 2, 2)])
def test_inverting_what_is_not_square_is_refused(shape):
    with pytest.raises(ValueError, match="matrix 0 has shape"):
        damped_inverse([torch.ones(shape)], [1.0])


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3)])
def test_shifts_that_are_not_one_per_group_are_refused(shape):
    with pytest.raises(ValueError, match="shift 0 has shape"):
        damped_inverse([torch.ones(shape)], [torch.ones(3)])


def test_each_matrix_needs_its_shift():
    with pytest.raises(ValueError, match="1 matrices but 2 shifts"):
        damped_inverse([torch.eye(2)], [1.0, 1.0])


@pytest.mark.parametrize("previous", [[], [torch.eye(3)], [torch.eye(2).expand(1, 2, 2)]])
def test_each_matrix_needs_its_previous_inverse(previous):
    with pytest.raises(ValueError, match="previous inverses need the shapes of the matrices"):
        damped_inverse([torch.eye(2)], [1.0], previous=previous)


def test_an_unknown_implementation_is_refused():
    with pytest.raises(UnsupportedError, match="damped_inverse has no implementation 'magic'"):
        damped_inverse([torch.eye(2)], [1.0], implementation="magic")


def test_auto_is_cholesky():
    matrix = positive_definite(6)
    chosen, cholesky = (damped_inverse([matrix], [0.1], implementation=name) for name in ("auto", "cholesky"))
    assert torch.equal(chosen.inverses[0], cholesky.inverses[0])


def test_nothing_to_invert():
    assert damped_inverse([], []) == ([], [], 0, [], [])
