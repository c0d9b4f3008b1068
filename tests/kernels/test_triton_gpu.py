"""Triton kernels against their references on a GPU, with the dtypes and products that the interpreter lacks."""

from __future__ import annotations

import pytest
import torch

from kfc_kernels import ConvGeometry
from kfc_kernels.precision import multiplying
from tests.kernels.triton_cases import (
    EACH_AVERAGE,
    EACH_CASE,
    EACH_CHUNKED,
    EACH_IMPLEMENTATION,
    EACH_LAG_CASE,
    TF32_ROUNDING,
    Case,
    check,
    check_dense,
    check_diagonal_step,
    check_every,
    check_precondition,
    check_running_averages,
    named,
    poisoned_memory,
    takes,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.usefixtures("poisoned_memory"),
]

__all__ = ["poisoned_memory"]


@pytest.fixture(params=["ieee", "tf32", "float16", "bfloat16"])
def products(request):
    """The operands' dtype and the rounding of float32 ones before products."""
    with multiplying(request.param) as dtype:
        yield dtype, TF32_ROUNDING if request.param == "tf32" else 0.0


@EACH_CASE
@EACH_IMPLEMENTATION
def test_layers(operator, by, case, products):
    dtype, operand_rounding = products
    if not takes(operator, by, case, dtype, "cuda"):
        pytest.skip("declined")
    check(operator, by, case, dtype, "cuda", operand_rounding)


@EACH_LAG_CASE
@pytest.mark.parametrize("by", ["triton_autocovariance", "autocovariance"])
def test_input_factor_by_lags(case, products, by):
    dtype, operand_rounding = products
    check("input_factor", by, case, dtype, "cuda", operand_rounding)


def test_precondition(products):
    dtype, operand_rounding = products
    check_precondition(dtype, "cuda", operand_rounding)


@pytest.mark.parametrize("momentum", [None, 0.0, 0.9])
def test_diagonal_step(products, momentum):
    check_diagonal_step(products[0], "cuda", momentum=momentum)


def test_dense(products):
    check_dense(products[0], "cuda")


@EACH_AVERAGE
def test_running_averages(decay, case, place):
    check_running_averages(decay, case, place, "cuda")


@EACH_CHUNKED
def test_chunks_of_gradients_add_up(operator, name, products, monkeypatch):
    monkeypatch.setattr("kfc_kernels.triton_gradients.CHUNK_BYTES", 1)
    check_every(operator, named(name), products[0], "cuda", products[1])


LARGE = Case("large", ConvGeometry.conv(128, 96, (14, 14), 3, padding=1, bias=True), batch=16)
MANY = Case("many", ConvGeometry.conv(4, 5, (3, 3), 3, padding=1), batch=35_000, vectors=2)


@pytest.mark.parametrize("case", [LARGE, MANY], ids=lambda case: case.name)
@EACH_IMPLEMENTATION
def test_large_layers_and_batches(operator, by, case, products):
    """Many tiles, and more examples than a grid has programs along its second axis."""
    if case is LARGE and operator in ("block_fisher", "exact_fisher"):
        pytest.skip("more parameters than it is for")
    if not takes(operator, by, case, products[0], "cuda"):
        pytest.skip("declined")
    check(operator, by, case, products[0], "cuda", products[1])
