"""The gate where sums cancel: the largest rows of the Fisher of one example are a million times its smallest."""

from dataclasses import replace

import pytest
import torch

from kfc_bench.experiments.cost import measurement
from kfc_bench.experiments.cost.measurement import Declined, open_case
from kfc_bench.experiments.cost.workloads import NO_SUMS, build
from kfc_bench.measure.correctness import ROW_FACTOR, worst_row_error
from kfc_kernels import ConvGeometry
from kfc_kernels.catalogue import OPERATORS
from tests.experiments.cost_cases import GROUPED, cost_case

CANCELLING = [
    cost_case(approximation="exact", phase="accumulate", geometry=ConvGeometry.conv(16, 16, (7, 7), 3), batch=1),
    cost_case(operator="block_fisher", geometry=ConvGeometry.conv(16, 16, (14, 14), 3, padding=1), batch=1),
]
every_case = pytest.mark.parametrize("case", CANCELLING, ids=lambda case: case.label)


def built(case, dtype):
    return build(case, dtype=dtype, implementation="reference")


@every_case
def test_sums_that_cancel_are_not_called_wrong(case):
    opened = open_case(case)
    assert not isinstance(opened, Declined), opened.record()
    own = worst_row_error(built(case, torch.float32).once(), built(case, torch.float64).once())
    assert own > ROW_FACTOR * opened.gate.limit, "by its own size a row would be"


@every_case
def test_one_entry_of_a_small_row_that_is_off_is_wrong_all_the_same(monkeypatch, case):
    (sizes,) = built(case, torch.float64).magnitudes()
    smallest = int(sizes.amax(1).argmin())
    column = int(sizes[smallest].argmax())

    def off(*_, dtype, **__):
        workload = built(case, dtype)
        (result,) = workload.once()
        if dtype == torch.float32:
            result[smallest, column] += 1e-4 * sizes[smallest, column]
        return replace(workload, once=lambda: [result])

    monkeypatch.setattr(measurement, "build", off)
    record = open_case(case).record()
    assert record["status"] == "wrong"
    assert record["rel_error"] < record["error_gate"], "the whole hides it"


@pytest.mark.parametrize("operator", sorted(set(OPERATORS) - set(NO_SUMS)))
def test_absolute_operands_bound_every_result(operator):
    exact = built(cost_case(operator=operator, geometry=GROUPED), torch.float64)
    for value, size in zip(exact.once(), exact.magnitudes(), strict=True):
        assert bool((value.abs() <= size * (1 + 1e-12)).all())


@pytest.mark.parametrize("operator", NO_SUMS)
def test_what_divides_has_no_such_bound(operator):
    assert built(cost_case(operator=operator), torch.float64).magnitudes is None
