"""The layers that every Triton kernel must get right, and what right means: shared by interpreter and GPU tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import kfc_kernels
from kfc_kernels import ConvGeometry, dispatch, precondition, precondition_dense, precondition_diagonal
from kfc_kernels.catalogue import OPERATORS
from kfc_kernels.input_factor.work import declines_lags

# c of the tolerance c*sqrt(N|T|)*eps.
ROUNDINGS_PER_SUM = 2.0

# Where products round float32 operands to ten bits of mantissa.
TF32_ROUNDING = 2.0**-10


def contiguous(maps: Tensor) -> Tensor:
    return maps.contiguous()


def channels_last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)


def every_other(maps: Tensor) -> Tensor:
    """Spread ``maps`` over a larger tensor of NaN, so that reading a gap shows."""
    spread = torch.full([2 * size for size in maps.shape], float("nan"), dtype=maps.dtype, device=maps.device)
    view = spread[tuple(slice(None, None, 2) for _ in maps.shape)]
    return view.copy_(maps)


@dataclass(frozen=True)
class Case:
    """A layer with a batch size, a number of vectors per example and a memory layout."""

    name: str
    geometry: ConvGeometry
    batch: int = 2
    vectors: int = 1
    layout: Callable[[Tensor], Tensor] = contiguous

    def operands(self, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
        """``a`` and ``g``, the latter ``[V, N, K, *out]``."""
        generator = torch.Generator().manual_seed(0)
        a = torch.randn(self.batch, self.geometry.in_channels, *self.geometry.in_size, generator=generator)
        shape = self.vectors, self.batch, self.geometry.out_channels, *self.geometry.out_size
        g = torch.randn(shape, generator=generator)
        return self.layout(a.to(device, dtype)), g.to(device, dtype)


def has_lags(geometry: ConvGeometry) -> bool:
    """Whether the autocovariance method takes a layer."""
    return declines_lags(dispatch.Case(geometry, torch.float32, torch.device("cpu"))) is None


conv = ConvGeometry.conv
linear = ConvGeometry.linear

CASES = (
    Case("1x1", conv(5, 7, (4, 6), 1)),
    Case("3x3-valid", conv(3, 5, (6, 7), 3)),
    Case("3x3-same-bias", conv(7, 6, (5, 6), 3, padding="same", bias=True)),
    Case("several-tiles", conv(8, 70, (6, 6), 3, padding=1, bias=True), batch=4),
    Case("5x5-padding-larger", conv(2, 3, (5, 4), 5, padding=4)),
    Case("7x7-stride2", conv(3, 4, (14, 13), 7, stride=2, padding=3)),
    Case("3x1", conv(3, 4, (7, 5), (3, 1), padding=(1, 0))),
    Case("11x11-stride4", conv(1, 3, (31, 27), 11, stride=4, padding=2)),
    Case("even-kernel-same", conv(3, 2, (6, 5), (2, 4), padding="same")),
    Case("dilated", conv(3, 4, (9, 8), 3, padding=2, dilation=(2, 3))),
    Case("stride-and-dilation", conv(2, 3, (11, 10), 3, stride=(2, 3), padding=1, dilation=2, bias=True)),
    Case("groups", conv(6, 9, (5, 5), 3, padding=1, groups=3, bias=True)),
    Case("depthwise", conv(5, 5, (6, 5), 3, padding=1, groups=5)),
    Case("depthwise-multiplied", conv(3, 6, (5, 6), 3, groups=3, bias=True)),
    Case("circular", conv(3, 4, (5, 6), 3, padding=2, padding_mode="circular")),
    Case("reflect", conv(3, 4, (5, 6), 3, padding=2, padding_mode="reflect", bias=True)),
    Case("replicate-strided", conv(3, 4, (5, 6), 3, stride=2, padding=1, padding_mode="replicate")),
    Case("map-smaller-than-kernel", conv(3, 4, (2, 3), 5, padding=2)),
    Case("one-pixel", conv(4, 3, (1, 1), 3, padding=1, bias=True)),
    Case("batch-1", conv(3, 4, (5, 5), 3, padding=1), batch=1),
    Case("three-vectors", conv(3, 4, (5, 5), 3, padding=1, bias=True), batch=3, vectors=3),
    Case("conv1d", conv(3, 4, (17,), 5, stride=2, padding=2, dilation=2, bias=True)),
    Case("conv1d-circular-groups", conv(4, 6, (9,), 3, padding=1, padding_mode="circular", groups=2)),
    Case("linear", linear(19, 5), batch=9),
    Case("linear-bias", linear(31, 17, bias=True), batch=5, vectors=2),
    Case("linear-shared", linear(6, 5, shared=(7,), bias=True)),
    Case("linear-shared-twice", linear(6, 5, shared=(3, 4))),
    Case("channels-last", conv(5, 6, (6, 5), 3, padding=1, bias=True), layout=channels_last),
    Case("non-contiguous", conv(3, 4, (6, 5), 3, padding=1), layout=every_other),
    Case("non-contiguous-1d", conv(3, 4, (8,), 3, stride=2), layout=every_other),
    Case("many-pixels", conv(2, 3, (16, 16), 3, padding=1), batch=3),
)
EACH_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

# What the autocovariance method is sensitive to: windows that miss much, ends of tiles, sums in several parts.
LAG_CASES = (
    *(case for case in CASES if has_lags(case.geometry)),
    Case("3x3-valid-kernel-near-map", conv(3, 2, (4, 3), 3)),
    Case("5x5-valid", conv(2, 2, (7, 9), 5)),
    Case("7x7-same", conv(2, 2, (5, 8), 7, padding=3)),
    Case("7x7-stride2-bias", conv(3, 2, (15, 14), 7, stride=2, padding=3, bias=True), batch=3),
    Case("asymmetric", conv(3, 2, (6, 5), (4, 2), padding="same", bias=True)),
    Case("dilated-beyond-map", conv(3, 2, (3, 4), 3, padding=4, dilation=2)),
    Case("channels-beyond-tile", conv(33, 2, (4, 4), 3, padding=1)),
    Case("parts", conv(4, 2, (19, 17), 3, padding=1, bias=True), batch=5),
)
EACH_LAG_CASE = pytest.mark.parametrize("case", LAG_CASES, ids=lambda case: case.name)

# Sizes [K, D] of layers that are preconditioned together; a leading number is that of groups.
LAYERS = ((5, 28), (3, 70, 19), (130, 1), (64, 64), (1, 9, 9), (17, 65))


def relative_error(out: Tensor, expected: Tensor) -> float:
    difference = float((out.double() - expected).norm())
    return difference / float(expected.norm()) if difference else 0.0


def assert_right(out: Tensor, *, plain: Tensor, expected: Tensor, terms: int, operand_rounding: float = 0.0) -> None:
    """Hold a result to the suites' one rule.

    Args:
        out: The result.
        plain: The reference implementation's result from the same operands.
        expected: Its result from the same operands in float64.
        terms: Length of the sum, N|T|.
        operand_rounding: Relative rounding of the operands before products, where the mode has any.
    """
    assert out.shape == expected.shape
    assert out.isfinite().all()
    rounding = ROUNDINGS_PER_SUM * math.sqrt(terms) * torch.finfo(torch.float32).eps + operand_rounding
    assert relative_error(out, expected) <= max(4 * relative_error(plain, expected), rounding)


def orthogonal(geometry: ConvGeometry, size: int) -> Tensor:
    """Random bases in float32, ``[size, size]``, with groups ``[groups, size, size]``."""
    generator = torch.Generator().manual_seed(size)
    drawn = torch.randn(geometry.grouped(size, size), generator=generator, dtype=torch.float64)
    return torch.linalg.qr(drawn).Q.float()


Arguments = Callable[[Case, Tensor, Tensor], list[Any]]


@dataclass(frozen=True)
class Layerwise:
    """An operator of one layer: what it takes, and how its result's error follows from its operands'.

    Attributes:
        arguments: From a case, ``a`` and ``g`` to the operator's arguments; tensors among them are operands.
        roundings: How often a rounding of operands before a product counts in the result.
    """

    arguments: Arguments
    roundings: int = 1


LAYERWISE = {
    "input_factor": Layerwise(lambda case, a, _: [a, case.geometry]),
    "output_factor": Layerwise(lambda case, _, g: [g, case.geometry]),
    "reduced_input_factor": Layerwise(lambda case, a, _: [a, case.geometry]),
    "reduced_output_factor": Layerwise(lambda case, _, g: [g, case.geometry]),
    # A relative error of the gradient counts twice in its square.
    "diagonal_fisher": Layerwise(lambda case, a, g: [a, g, case.geometry], 2),
    "mini_block_fisher": Layerwise(lambda case, a, g: [a, g, case.geometry], 3),
    "block_fisher": Layerwise(lambda case, a, g: [a, g, case.geometry], 3),
    "exact_fisher": Layerwise(lambda _, __, g: [g.flatten(2)]),
    # Three products, one after the other, and then squares.
    "eigenvalue_correction": Layerwise(
        lambda case, a, g: [
            *(a, g, case.geometry),
            *(
                orthogonal(case.geometry, size).to(a.device)
                for size in (case.geometry.group_outputs, case.geometry.patch_dim)
            ),
        ],
        6,
    ),
}
"""The operators whose Triton implementations take the layers of `CASES`."""

TRITON = [
    (operator, entry.name) for operator in LAYERWISE for entry in OPERATORS[operator].table if "triton" in entry.name
]
EACH_IMPLEMENTATION = pytest.mark.parametrize(("operator", "by"), TRITON, ids=["-".join(pair) for pair in TRITON])

FEW_CASES = [
    case
    for case in CASES
    if case.name in ("3x3-same-bias", "groups", "stride-and-dilation", "circular", "linear-bias", "three-vectors")
]


def takes(operator: str, by: str, case: Case, dtype: torch.dtype, device: str) -> bool:
    """Whether an implementation takes a case."""
    asked = dispatch.Case(case.geometry, dtype, torch.device(device), case.batch)
    return by in OPERATORS[operator].accepting(asked)


def check(operator: str, by: str, case: Case, dtype: torch.dtype, device: str, operand_rounding: float = 0.0) -> None:
    """Hold an implementation's result on a layer to the plain one and to float64.

    Args:
        operator: A key of `LAYERWISE`.
        by: Its implementation.
        case: The layer.
        dtype: Of the operands.
        device: Where it runs.
        operand_rounding: Relative rounding of the operands before products, where the mode has any.
    """
    run, layerwise = getattr(kfc_kernels, operator), LAYERWISE[operator]
    operands = layerwise.arguments(case, *case.operands(dtype, device))
    wide = [operand.double() if isinstance(operand, Tensor) else operand for operand in operands]
    out = run(*operands, implementation=by)
    assert out.dtype == torch.float32
    if "factor" in operator or operator in ("block_fisher", "exact_fisher"):
        assert relative_error(out, out.mT.double()) <= torch.finfo(torch.float32).eps
    assert_right(
        out,
        plain=run(*operands, implementation="reference"),
        expected=run(*wide, implementation="reference"),
        terms=case.vectors * case.batch * case.geometry.positions,
        operand_rounding=layerwise.roundings * operand_rounding,
    )


def check_every(operator: str, case: Case, dtype: torch.dtype, device: str, operand_rounding: float = 0.0) -> None:
    """Check all Triton implementations of an operator that take a layer."""
    for by in (name for of, name in TRITON if of == operator):
        if takes(operator, by, case, dtype, device):
            check(operator, by, case, dtype, device, operand_rounding)


def named(name: str) -> Case:
    """The case of a name."""
    (case,) = (case for case in CASES if case.name == name)
    return case


UNORDERED = Case("unordered", ConvGeometry.linear(70, 4, bias=True), batch=9)
SMALL = Case("small", ConvGeometry.conv(3, 4, (4, 5), 3, padding=1, bias=True))


def transposed(matrix: Tensor) -> Tensor:
    return matrix.mT.contiguous().mT


def doubled(matrix: Tensor) -> Tensor:
    return matrix.double()


def EACH_AVERAGE(test: Any) -> Any:
    """Parametrize over decays, layers, and how the average lies in memory."""
    test = pytest.mark.parametrize("decay", [None, 0.0, 0.75, 1.0])(test)
    test = pytest.mark.parametrize("case", [SMALL, UNORDERED], ids=lambda case: case.name)(test)
    return pytest.mark.parametrize("place", [contiguous, transposed, doubled], ids=lambda place: place.__name__)(test)


def EACH_CHUNKED(test: Any) -> Any:
    """Parametrize over what forms gradients in memory, and a few layers."""
    names = ["3x3-same-bias", "groups", "linear-shared", "three-vectors"]
    operators = ["block_fisher", "mini_block_fisher", "eigenvalue_correction"]
    return pytest.mark.parametrize("name", names)(pytest.mark.parametrize("operator", operators)(test))


def check_running_averages(decay: float | None, case: Case, place: Callable[[Tensor], Tensor], device: str) -> None:
    """Hold each implementation's running average to the average of what it computes afresh."""
    operands = case.operands(torch.float32, device)
    for operator, by in TRITON:
        if not takes(operator, by, case, torch.float32, device):
            continue
        run = getattr(kfc_kernels, operator)
        arguments = LAYERWISE[operator].arguments(case, *operands)
        fresh = run(*arguments, implementation=by)
        before = torch.full_like(fresh, math.nan if decay is None else 2.0)
        out = place(before.clone())
        assert run(*arguments, implementation=by, out=out, decay=decay) is out
        expected = fresh if decay is None else decay * before + (1 - decay) * fresh
        torch.testing.assert_close(out, expected.to(out.dtype))


def layer_matrices(dtype: torch.dtype, device: str) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Gradients and both inverses of `LAYERS`; gradients without contiguous rows, inverses with gaps between rows."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    gradients = [draw(*groups, columns, rows).mT for *groups, rows, columns in LAYERS]
    output_inverses = [draw(*groups, rows, rows + 3)[..., :rows] for *groups, rows, _ in LAYERS]
    input_inverses = [draw(*groups, columns, columns + 2)[..., :columns] for *groups, _, columns in LAYERS]
    return gradients, output_inverses, input_inverses


def check_precondition(dtype: torch.dtype, device: str, operand_rounding: float = 0.0) -> None:
    operands = layer_matrices(dtype, device)
    norms = torch.full((2,), math.nan, device=device).unbind()
    outs = precondition(*operands, squared_norm=norms[0], implementation="triton_grouped_gemm")
    plains = precondition(*operands, squared_norm=norms[1], implementation="reference")
    wide = [[matrix.double() for matrix in matrices] for matrices in operands]
    for out, plain, expected in zip(outs, plains, precondition(*wide, implementation="reference"), strict=True):
        assert out.dtype == dtype
        rounding = 2 * operand_rounding + (2 * torch.finfo(dtype).eps if dtype != torch.float32 else 0.0)
        terms = expected.shape[-1] * expected.shape[-2]
        assert_right(out, plain=plain, expected=expected, terms=terms, operand_rounding=rounding)
    close = max(1e-5, 4 * operand_rounding, 4 * torch.finfo(dtype).eps)
    torch.testing.assert_close(*norms, rtol=close, atol=0.0)


def check_diagonal_step(dtype: torch.dtype, device: str, *, momentum: float | None) -> None:
    """Hold the diagonal form with its norm to float64, with momentum or without."""
    gradients, _, _ = layer_matrices(dtype, device)
    diagonals = [gradient.square().contiguous() for gradient in gradients]
    buffers = None if momentum is None else [torch.ones_like(gradient) for gradient in gradients]
    wide = None if buffers is None else [buffer.double() for buffer in buffers]
    norms = torch.full((2,), math.nan, device=device, dtype=torch.float64).unbind()
    options = {"momentum": momentum or 0.0}
    outs = precondition_diagonal(
        gradients, diagonals, 0.5, **options, buffers=buffers, squared_norm=norms[0], implementation="triton_foreach"
    )
    expected = precondition_diagonal(
        [gradient.double() for gradient in gradients],
        [diagonal.double() for diagonal in diagonals],
        0.5,
        **options,
        buffers=wide,
        squared_norm=norms[1],
        implementation="reference",
    )
    for index, (out, exact) in enumerate(zip(outs, expected, strict=True)):
        assert out.dtype == dtype
        assert buffers is None or out is buffers[index]
        torch.testing.assert_close(out.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)
    torch.testing.assert_close(*norms, rtol=1e-5, atol=0.0)


def check_dense(dtype: torch.dtype, device: str) -> None:
    """Hold the dense form with its norm to float64, on blocks of unlike sizes, grouped ones and a whole network's."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    gradients = [draw(7, 5).mT, draw(3, 4, 6), draw(600), draw(1, 1)]
    inverses = [draw(35, 40)[:, :35], draw(3, 24, 24), draw(600, 600).mT, draw(1, 1)]
    norms = torch.full((2,), math.nan, device=device, dtype=torch.float64).unbind()
    outs = precondition_dense(gradients, inverses, squared_norm=norms[0], implementation="triton_matvec")
    wide = [[tensor.double() for tensor in tensors] for tensors in (gradients, inverses)]
    expected = precondition_dense(*wide, squared_norm=norms[1], implementation="reference")
    for out, exact in zip(outs, expected, strict=True):
        assert out.dtype == dtype
        assert out.shape == exact.shape
        # The result is rounded to its dtype once.
        assert relative_error(out, exact) <= 2 * math.sqrt(600) * 2**-23 + torch.finfo(dtype).eps
    torch.testing.assert_close(*norms, rtol=1e-5, atol=0.0)


@pytest.fixture
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill what ``torch.empty`` returns with NaN, so that output that nobody wrote fails."""
    empty = torch.empty

    def poisoned(*size: Any, **options: Any) -> Tensor:
        tensor = empty(*size, **options)
        return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

    monkeypatch.setattr(torch, "empty", poisoned)
