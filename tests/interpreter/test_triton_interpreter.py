"""Triton kernels against their references, run without a GPU."""

from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kfc_kernels import ConvGeometry, UnsupportedError, diagonal_fisher, input_factor, precondition
from kfc_kernels.catalogue import OPERATORS
from kfc_kernels.triton_launch import check_indices
from kfc_kernels.triton_symmetric import lower_triangle
from tests.kernels.triton_cases import (
    EACH_AVERAGE,
    EACH_CASE,
    EACH_CHUNKED,
    EACH_IMPLEMENTATION,
    EACH_LAG_CASE,
    FEW_CASES,
    SMALL,
    TRITON,
    Case,
    channels_last,
    check,
    check_dense,
    check_diagonal_step,
    check_every,
    check_precondition,
    check_running_averages,
    contiguous,
    layer_matrices,
    named,
    poisoned_memory,
    takes,
)

triton = pytest.importorskip("triton")
tl = triton.language
if not triton.knobs.runtime.interpret:
    pytest.skip("the interpreter needs a process of its own: pytest tests/interpreter", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("poisoned_memory")

# The interpreter's bfloat16 products are wrong; test_triton_gpu.py has them.
EACH_DTYPE = pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16"])

__all__ = ["poisoned_memory"]


@triton.jit
def place_kernel(places, index):
    """Write the row and column of a tile; ``places`` is ``[2, 3]``."""
    row, column = lower_triangle(index)
    tl.store(places, row)
    tl.store(places + 3, column)


@EACH_CASE
@EACH_IMPLEMENTATION
def test_layers(operator, by, case):
    if not takes(operator, by, case, torch.float32, "cpu"):
        pytest.skip("declined")
    check(operator, by, case, torch.float32, "cpu")


@pytest.mark.parametrize("case", FEW_CASES, ids=lambda case: case.name)
@EACH_IMPLEMENTATION
def test_layers_in_half_precision(operator, by, case):
    if not takes(operator, by, case, torch.float16, "cpu"):
        pytest.skip("declined")
    check(operator, by, case, torch.float16, "cpu")


@EACH_DTYPE
@EACH_LAG_CASE
def test_input_factor_by_lags(case, dtype):
    check("input_factor", "triton_autocovariance", case, dtype, "cpu")


@EACH_DTYPE
def test_precondition(dtype):
    check_precondition(dtype, "cpu")


@EACH_DTYPE
@pytest.mark.parametrize("momentum", [None, 0.0, 0.9])
def test_diagonal_step(dtype, momentum):
    check_diagonal_step(dtype, "cpu", momentum=momentum)


@EACH_DTYPE
def test_dense(dtype):
    check_dense(dtype, "cpu")


def test_every_triton_implementation_is_tested():
    elsewhere = {"triton_grouped_gemm", "triton_foreach", "triton_matvec"}
    everything = {
        (operator.name, entry.name)
        for operator in OPERATORS.values()
        for entry in operator.table
        if "triton" in entry.name
    }
    assert {pair for pair in everything if pair[1] not in elsewhere} == set(TRITON)


@EACH_CHUNKED
def test_chunks_of_gradients_add_up(operator, name, monkeypatch):
    monkeypatch.setattr("kfc_kernels.triton_gradients.CHUNK_BYTES", 1)
    check_every(operator, named(name), torch.float32, "cpu")


def test_tiles_of_a_lower_triangle_are_counted_row_by_row():
    places = torch.empty(2, 3, dtype=torch.int32)
    for index in (0, 1, 2, 3, 5, 6, 4949, 4950, 499_999, 500_000, 10**6, 10**6 + 1):
        place_kernel[(1,)](places, index)
        row, column = places[:, 0].tolist()
        assert row * (row + 1) // 2 + column == index
        assert 0 <= column <= row


@st.composite
def cases(draw):
    axes = draw(st.integers(0, 2))
    groups = draw(st.integers(1, 3))
    small = st.tuples(*[st.integers(1, 3)] * axes)
    try:
        geometry = ConvGeometry.conv(
            groups * draw(st.integers(1, 3)),
            groups * draw(st.integers(1, 3)),
            draw(st.tuples(*[st.integers(1, 7)] * axes)),
            draw(st.tuples(*[st.integers(1, 4)] * axes)),
            stride=draw(small),
            padding=draw(st.tuples(*[st.integers(0, 3)] * axes)),
            dilation=draw(small),
            padding_mode=draw(st.sampled_from(["zeros", "replicate"])) if axes else "zeros",
            groups=groups,
            bias=draw(st.booleans()),
        )
    except ValueError:
        assume(False)
    return Case("drawn", geometry, batch=draw(st.integers(1, 3)), vectors=draw(st.integers(1, 2)))


@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(cases())
def test_drawn_layers(case):
    for operator, by in TRITON:
        if takes(operator, by, case, torch.float32, "cpu"):
            check(operator, by, case, torch.float32, "cpu")


@EACH_AVERAGE
def test_running_averages(decay, case, place):
    check_running_averages(decay, case, place, "cpu")


def test_an_average_of_another_shape_is_refused():
    a, _ = SMALL.operands(torch.float32, "cpu")
    with pytest.raises(ValueError, match=r"out has shape \[2, 2\]"):
        input_factor(a, SMALL.geometry, implementation="triton_implicit_gemm", out=torch.zeros(2, 2))


@EACH_DTYPE
@pytest.mark.parametrize("bias", [False, True])
def test_channels_that_are_loaded_together(dtype, bias):
    geometry = ConvGeometry.conv(32, 2, (5, 6), 3, padding=1, groups=2, bias=bias)
    for layout in (contiguous, channels_last):
        for operator, by in TRITON:
            case = Case("together", geometry, layout=layout)
            if takes(operator, by, case, dtype, "cpu"):
                check(operator, by, case, dtype, "cpu")


def test_operands_of_unlike_dtypes_meet_in_float32():
    a, g = SMALL.operands(torch.float32, "cpu")
    out = diagonal_fisher(a.half(), g, SMALL.geometry, implementation="triton_implicit_gemm")
    torch.testing.assert_close(out, diagonal_fisher(a.half().float(), g, SMALL.geometry, implementation="reference"))


@pytest.mark.parametrize(
    ("dtype", "reason"), [(torch.float64, "not float64"), (torch.bfloat16, "interpreter's bfloat16")]
)
def test_dtypes_declined(dtype, reason):
    a, g = (operand.to(dtype) for operand in SMALL.operands(torch.float32, "cpu"))
    with pytest.raises(UnsupportedError, match=reason):
        input_factor(a, SMALL.geometry, implementation="triton_implicit_gemm")
    with pytest.raises(UnsupportedError, match=reason):
        diagonal_fisher(a, g, SMALL.geometry, implementation="triton_implicit_gemm")
    with pytest.raises(UnsupportedError, match=reason):
        precondition(*layer_matrices(dtype, "cpu"), implementation="triton_grouped_gemm")


def test_three_axes_declined():
    geometry = ConvGeometry.conv(2, 3, (3, 3, 3), 2)
    with pytest.raises(UnsupportedError, match="at most 2 spatial axes"):
        input_factor(torch.ones(1, 2, 3, 3, 3), geometry, implementation="triton_implicit_gemm")


def test_precondition_refuses_unlike_dtypes_and_wrong_shapes():
    gradients, output_inverses, input_inverses = layer_matrices(torch.float32, "cpu")
    with pytest.raises(ValueError, match="one dtype and device"):
        precondition(
            gradients, [m.half() for m in output_inverses], input_inverses, implementation="triton_grouped_gemm"
        )
    with pytest.raises(ValueError, match=r"needs an input inverse of shape \[28, 28\], not \[5, 5\]"):
        precondition(gradients[:1], output_inverses[:1], output_inverses[:1], implementation="triton_grouped_gemm")


def test_interpreted_kernels_are_not_compiled_ahead():
    ahead = importlib.import_module("kfc_kernels.compile_ahead")
    launch = importlib.import_module("kfc_kernels.input_factor.triton_implicit_gemm").ahead_of_time
    with pytest.raises(TypeError, match="unset TRITON_INTERPRET"):
        ahead.compile_ahead(*launch(SMALL.geometry, torch.float32, "sm_90")[0], ahead.TARGETS["sm_90"])


def test_counts_beyond_32_bits_are_refused():
    with pytest.raises(UnsupportedError, match=r"input_factor: 2147483648 pixels .* 32-bit"):
        check_indices("input_factor", pixels=2**31)
    check_indices("input_factor", pixels=2**31 - 1)
