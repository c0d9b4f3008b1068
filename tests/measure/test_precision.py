import pytest
import torch

from kfc_bench.measure.precision import (
    PRECISIONS,
    TF32_EPS,
    float32_products,
    operand_dtype,
    operand_rounding,
    precision_in_force,
    set_precision,
)
from tests.conftest import FLAGS

pytestmark = pytest.mark.usefixtures("restored_precision")


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


ROUNDED = [
    (torch.float32, "ieee", "cuda", 0.0),
    (torch.float32, "tf32", "cuda", TF32_EPS),
    (torch.float32, "tf32", "cpu", 0.0),
    (torch.float64, "tf32", "cuda", 0.0),
    (torch.float32, "bf16", "cpu", torch.finfo(torch.bfloat16).eps),
    (torch.float32, "fp16", "cuda", torch.finfo(torch.float16).eps),
]


@pytest.mark.parametrize(("dtype", "precision", "device", "rounding"), ROUNDED)
def test_what_factors_of_products_are_rounded_to(dtype, precision, device, rounding):
    assert operand_rounding(dtype, precision, device) == rounding
