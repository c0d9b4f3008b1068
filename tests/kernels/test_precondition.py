"""Preconditioning beyond its products: squared norms, momentum, memory layouts, and what is refused."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from kfc_kernels import precondition, precondition_dense, precondition_diagonal
from kfc_kernels.catalogue import OPERATORS
from kfc_kernels.precondition import chunked

SHAPES = ((5, 7), (3, 4, 6), (9,), (40, 31))


def draw(*shapes, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def on_cpu(operator):
    names = [entry.name for entry in OPERATORS[operator].table if "triton" not in entry.name]
    return pytest.mark.parametrize("implementation", [*names, "auto"])


def number(value=math.nan, dtype=torch.float64):
    return torch.tensor(value, dtype=dtype)


FORMS = {
    "precondition": partial(
        precondition, draw((5, 7), (2, 3, 4)), draw((5, 5), (2, 3, 3), seed=1), draw((7, 7), (2, 4, 4), seed=2)
    ),
    "precondition_diagonal": partial(
        precondition_diagonal, draw(*SHAPES), [values.abs() for values in draw(*SHAPES, seed=1)], 0.1
    ),
    "precondition_dense": partial(precondition_dense, draw((5, 7), (9,)), draw((35, 35), (9, 9), seed=1)),
}


@pytest.fixture
def tiny_parts(monkeypatch):
    monkeypatch.setattr(chunked, "ELEMENTS_OF_A_PART", 16)


@pytest.mark.parametrize(
    ("operator", "implementation"),
    [(name, entry.name) for name in FORMS for entry in OPERATORS[name].table if "triton" not in entry.name],
)
@pytest.mark.usefixtures("tiny_parts")
def test_the_squared_norm_is_that_of_all_results(operator, implementation):
    norm = number()
    natural = FORMS[operator](squared_norm=norm, implementation=implementation)
    assert_close(norm, sum(direction.square().sum() for direction in natural))
    for direction, without in zip(natural, FORMS[operator](implementation=implementation), strict=True):
        assert_close(direction, without, rtol=0, atol=0)


@pytest.mark.parametrize("contiguous", [True, False])
@on_cpu("precondition_diagonal")
@pytest.mark.usefixtures("tiny_parts")
def test_momentum_buffers_are_updated_in_place(implementation, contiguous):
    gradients, diagonals = draw(*SHAPES), [values.abs() for values in draw(*SHAPES, seed=1)]
    before = draw(*SHAPES, seed=2)
    buffers = [buffer.clone() for buffer in before]
    if not contiguous:
        buffers = [buffer.flip(0).flip(0).transpose(0, -1).contiguous().transpose(0, -1) for buffer in buffers]
    norm = number()
    outs = precondition_diagonal(
        gradients,
        diagonals,
        0.1,
        momentum=0.9,
        buffers=buffers,
        squared_norm=norm,
        implementation=implementation,
    )
    plain = [gradient / (diagonal + 0.1) for gradient, diagonal in zip(gradients, diagonals, strict=True)]
    for out, buffer, old, direction in zip(outs, buffers, before, plain, strict=True):
        assert out is buffer
        assert_close(out, 0.9 * old + direction)
    assert_close(norm, sum(direction.square().sum() for direction in plain))


@on_cpu("precondition_diagonal")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_norm_of_low_precision_results_is_summed_in_its_own(implementation, dtype):
    gradients = [torch.full((3000,), 8.0, dtype=dtype)]
    norm = number(dtype=torch.float32)
    precondition_diagonal(
        gradients, [torch.ones_like(gradients[0])], 1.0, squared_norm=norm, implementation=implementation
    )
    assert norm.item() == 3000 * 16


@pytest.mark.parametrize("operator", FORMS)
def test_of_no_layers_the_norm_is_zero(operator):
    run = FORMS[operator].func
    empty = [0.1 if value == 0.1 else [] for value in FORMS[operator].args]
    norm = number()
    assert run(*empty, squared_norm=norm) == []
    assert norm == 0


@pytest.mark.parametrize("operator", FORMS)
def test_a_norm_is_one_number(operator):
    with pytest.raises(ValueError, match=r"squared_norm has shape \[2\], but is one number"):
        FORMS[operator](squared_norm=torch.zeros(2))


def test_momentum_needs_buffers():
    with pytest.raises(ValueError, match=r"momentum 0\.9 needs buffers"):
        FORMS["precondition_diagonal"](momentum=0.9)
    with pytest.raises(ValueError, match="one of each per layer is needed, not 4 gradients, 4 diagonals, 1 buffers"):
        FORMS["precondition_diagonal"](momentum=0.9, buffers=draw((5, 7)))


def test_diagonals_and_buffers_have_the_gradients_shapes():
    with pytest.raises(ValueError, match=r"a gradient of shape \[5, 7\] has a diagonal of shape \[7, 5\]"):
        precondition_diagonal(draw((5, 7)), draw((7, 5)), 0.1)
    with pytest.raises(ValueError, match=r"a gradient of shape \[5, 7\] has a buffer of shape \[5, 6\]"):
        precondition_diagonal(draw((5, 7)), draw((5, 7)), 0.1, momentum=0.9, buffers=draw((5, 6)))
