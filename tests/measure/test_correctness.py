import math

import pytest
import torch
from torch import float32, float64

from kfc_bench.measure.correctness import (
    ROW_FACTOR,
    damped_condition,
    error_gate,
    relative_error,
    worst_row_error,
)


def matrix(size, *, scale=1.0):
    return scale * torch.randn(size, size, dtype=float64, generator=torch.Generator().manual_seed(size))


def test_relative_error_by_hand():
    reference = [torch.tensor([3.0, 0.0], dtype=float64), torch.tensor([[4.0]], dtype=float64)]
    outputs = [torch.tensor([3.0, 0.3]), torch.tensor([[4.4]])]
    assert relative_error(outputs, reference) == pytest.approx(0.1)
    assert relative_error(reference, reference) == 0


def test_relative_error_of_zeros():
    zero = [torch.zeros(3, dtype=float64)]
    assert relative_error(zero, zero) == 0
    assert relative_error([torch.full((3,), 2.0)], zero) == pytest.approx(12**0.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("measure", [relative_error, worst_row_error])
def test_what_is_not_finite_is_infinitely_wrong(bad, measure):
    reference = matrix(4)
    output = reference.clone()
    output[2, 1] = bad
    assert measure([reference, output], [reference, reference]) == math.inf


def test_a_result_is_of_as_many_tensors_as_the_reference():
    with pytest.raises(ValueError, match="zip"):
        relative_error([matrix(2)], [matrix(2), matrix(2)])


def test_a_wrong_small_block_hides_in_the_whole_but_not_in_its_row():
    large, small = matrix(300, scale=100.0), matrix(3, scale=0.2)
    reference = torch.block_diag(large, small)
    output = torch.block_diag(large, small * 1.01)
    limit = error_gate(terms=10_000, dtype=float32, rounding=0.0, condition=1.0, plain_error=None)
    assert relative_error([output], [reference]) < limit
    assert worst_row_error([output], [reference]) > ROW_FACTOR * limit
    assert worst_row_error([reference.float()], [reference]) < limit


def test_worst_row_by_hand():
    reference = [
        torch.tensor([[10.0, 1.0], [2.0, 4.0]], dtype=float64),
        torch.tensor(5.0, dtype=float64),
        torch.empty(0, 3),
    ]
    output = [torch.tensor([[10.0, 1.5], [2.4, 4.0]]), torch.tensor(5.0), torch.empty(0, 3)]
    assert worst_row_error(output, reference) == pytest.approx(0.1)


def test_rows_of_next_to_nothing_are_held_to_a_thousandth_of_the_largest():
    reference = torch.tensor([[1.0, 1.0], [1e-12, 0.0]], dtype=float64)
    assert worst_row_error([reference + torch.tensor([[0.0], [1e-6]])], [reference]) == pytest.approx(1e-3)


def test_rows_can_be_relative_to_the_size_of_their_terms():
    reference = torch.tensor([[1.0, 1.0], [0.01, 0.0]], dtype=float64)
    output = reference + torch.tensor([[0.0], [1e-4]])
    assert worst_row_error([output], [reference]) == pytest.approx(1e-2)
    assert worst_row_error([output], [reference], [torch.ones(2, 2)]) == pytest.approx(1e-4)


GATES = {
    "sum": ({"terms": 100}, 10 * torch.finfo(float32).eps),
    "float64": ({"terms": 100, "dtype": float64}, 10 * torch.finfo(float64).eps),
    "condition": ({"terms": 100, "condition": 7.0}, 70 * torch.finfo(float32).eps),
    "rounding": ({"terms": 1, "rounding": 1e-3, "condition": 2.0}, 2 * (torch.finfo(float32).eps + 1e-3)),
    "plain-worse": ({"terms": 100, "plain_error": 1e-3}, 4e-3),
    "plain-better": ({"terms": 100, "plain_error": 1e-9}, 10 * torch.finfo(float32).eps),
}


@pytest.mark.parametrize("case", GATES)
def test_error_gate(case):
    options, expected = GATES[case]
    arguments = {"dtype": float32, "rounding": 0.0, "condition": 1.0, "plain_error": None, **options}
    assert error_gate(**arguments) == pytest.approx(expected)


@pytest.mark.parametrize("size", [5, 600])
def test_damped_condition_is_an_upper_bound(size):
    rows = matrix(size)
    spd, shift = rows @ rows.mT / size, 0.1
    exact = float(torch.linalg.cond(spd + shift * torch.eye(size, dtype=float64)))
    bound = damped_condition(spd, shift)
    assert exact * (1 - 1e-9) <= bound
    assert bound < 100 * exact


def test_damped_condition_of_groups_is_the_worst():
    rows = torch.stack([torch.eye(3, dtype=float64), 9 * torch.eye(3, dtype=float64)])
    assert damped_condition(rows, torch.tensor([1.0, 3.0], dtype=float64)) == pytest.approx(4)
    assert damped_condition(rows, torch.tensor([0.1, 3.0], dtype=float64)) == pytest.approx(11)
