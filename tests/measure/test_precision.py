import pytest
import torch

from kfc_bench.measure.precision import (
    PRECISIONS,
    float32_products,
    operand_dtype,
    precision_in_force,
    set_precision,
)

FLAGS = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)


@pytest.fixture(autouse=True)
def _restored_flags():
    before = [flag.fp32_precision for flag in FLAGS]
    yield
    for flag, value in zip(FLAGS, before, strict=True):
        flag.fp32_precision = value


@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_and_convolutions_get_the_same_flag(precision):
    for previous in PRECISIONS:
        set_precision(previous)
        set_precision(precision)
        assert {flag.fp32_precision for flag in FLAGS} == {"tf32" if precision == "tf32" else "ieee"}
        assert precision_in_force() == float32_products(precision)


def test_flags_that_differ_are_told_apart():
    set_precision("ieee")
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    assert precision_in_force() == "ieee, convolutions tf32"


@pytest.mark.parametrize(
    ("dtype", "precision", "expected"),
    [
        (torch.float32, "ieee", torch.float32),
        (torch.float64, "ieee", torch.float64),
        (torch.float32, "tf32", torch.float32),
        (torch.float32, "bf16", torch.bfloat16),
        (torch.float32, "fp16", torch.float16),
    ],
)
def test_operands(dtype, precision, expected):
    assert operand_dtype(dtype, precision) == expected
