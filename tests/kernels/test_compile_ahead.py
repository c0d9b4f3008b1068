"""The configurations that dispatch picks, compiled without a GPU: no spilled registers, the right instructions."""

from __future__ import annotations

import pytest
import torch

from kfc_kernels import ConvGeometry
from tests.kernels.triton_cases import float32_products

triton = pytest.importorskip("triton")
if triton.knobs.runtime.interpret:
    pytest.skip("interpreted kernels cannot be compiled: unset TRITON_INTERPRET", allow_module_level=True)

from kfc_kernels.compile_ahead import TARGETS, compile_ahead  # noqa: E402
from kfc_kernels.diagonal_fisher import triton_implicit_gemm as diagonal_fisher  # noqa: E402
from kfc_kernels.input_factor import triton_implicit_gemm as input_factor  # noqa: E402
from kfc_kernels.precondition import triton_grouped_gemm as precondition  # noqa: E402

conv = ConvGeometry.conv

LAYERS = {
    "3x3": conv(64, 64, (56, 56), 3, padding=1),
    "3x3-bias": conv(256, 256, (14, 14), 3, padding=1, bias=True),
    "3x3-valid": conv(32, 64, (28, 28), 3),
    "3x3-stride2": conv(128, 256, (28, 28), 3, stride=2, padding=1),
    "5x5-bias": conv(32, 64, (16, 16), 5, padding=2, bias=True),
    "7x7-stem": conv(3, 64, (224, 224), 7, stride=2, padding=3),
    "1x1": conv(64, 256, (56, 56), 1),
    "dilated": conv(64, 64, (28, 28), 3, padding=2, dilation=2),
    "circular": conv(64, 64, (28, 28), 3, padding=1, padding_mode="circular"),
    "groups": conv(128, 128, (28, 28), 3, padding=1, groups=32),
    "depthwise": conv(32, 32, (28, 28), 3, padding=1, groups=32),
    "conv1d": conv(64, 128, (400,), 3, padding=1, bias=True),
    "linear": ConvGeometry.linear(512, 1000, bias=True),
    "linear-shared": ConvGeometry.linear(512, 512, shared=(128,), bias=True),
}
OPERATORS = {"input_factor": input_factor, "diagonal_fisher": diagonal_fisher, "precondition": precondition}
DTYPES = {
    "ieee": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

MATRIX_INSTRUCTION = {"sm_80": "mma.sync", "sm_90": "wgmma.mma_async", "sm_100": "tcgen05.mma", "gfx942": "v_mfma"}


def check(operator: str, layer: str, products: str, target: str) -> None:
    with float32_products("tf32" if products == "tf32" else "ieee"):
        geometry = () if operator == "precondition" else (LAYERS[layer],)
        kernel, types, configuration = OPERATORS[operator].ahead_of_time(*geometry, DTYPES[products])
    binary = compile_ahead(kernel, types, configuration, TARGETS[target])
    assert binary.spilled == 0
    sides = [size for name, size in configuration.items() if name in {"BD", "BK", "BM", "BN"}]
    if products == "ieee" and target.startswith("sm_"):
        assert binary.matrix_instruction is None
    elif min(sides) >= 64:
        assert binary.matrix_instruction == MATRIX_INSTRUCTION[target]


@pytest.mark.parametrize("products", ["ieee", "tf32", "float16"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("operator", ["input_factor", "diagonal_fisher"])
def test_hopper(operator, layer, products):
    check(operator, layer, products, "sm_90")


@pytest.mark.parametrize("products", ["ieee", "tf32", "float16"])
@pytest.mark.parametrize("target", ["sm_80", "sm_100", "gfx942"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_elsewhere(operator, target, products):
    check(operator, "3x3-bias", products, target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_bfloat16(operator, target):
    check(operator, "3x3-bias", "bfloat16", target)


@pytest.mark.parametrize("products", ["ieee", "tf32", "float16"])
def test_hopper_precondition(products):
    check("precondition", "all", products, "sm_90")
