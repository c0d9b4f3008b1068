"""Triton kernels against their references on a GPU, with the dtypes and products that the interpreter lacks."""

from __future__ import annotations

import pytest
import torch

from kfc_kernels.launches import multiplying
from tests.kernels.triton_cases import (
    EACH_CASE,
    EACH_LAG_CASE,
    TF32_ROUNDING,
    check_diagonal_fisher,
    check_input_factor,
    check_precondition,
    poisoned_memory,
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
def test_input_factor(case, products):
    dtype, operand_rounding = products
    check_input_factor(case, dtype, "cuda", operand_rounding)


@EACH_LAG_CASE
def test_input_factor_by_lags(case, products):
    dtype, operand_rounding = products
    check_input_factor(case, dtype, "cuda", operand_rounding, by="triton_autocovariance")


@EACH_LAG_CASE
def test_input_factor_by_lags_in_torch(case, products):
    dtype, operand_rounding = products
    check_input_factor(case, dtype, "cuda", operand_rounding, by="autocovariance")


@EACH_CASE
def test_diagonal_fisher(case, products):
    dtype, operand_rounding = products
    check_diagonal_fisher(case, dtype, "cuda", operand_rounding)


def test_precondition(products):
    dtype, operand_rounding = products
    check_precondition(dtype, "cuda", operand_rounding)
