"""Every implementation in torch operations, found in the catalogue, against the same computation in float64."""

from __future__ import annotations

import importlib
import math
from itertools import combinations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import kfc_kernels
from kfc_bench.measure.memory import peak_memory
from kfc_kernels import ConvGeometry, UnsupportedError, per_example, squares, symmetric
from kfc_kernels.block_fisher import chunked as fisher_blocks
from kfc_kernels.catalogue import OPERATORS, implementations
from kfc_kernels.eigenvalue_correction import chunked as corrections
from kfc_kernels.output_factor import chunked as output_chunks
from kfc_kernels.reduced_input_factor import filter_sums
from tests.kernels.geometry_cases import every_case, named, parametrize
from tests.kernels.test_operators import LAYER_OPERATORS, random_bases, relative_error
from tests.kernels.triton_cases import channels_last, every_other

conv = ConvGeometry.conv
linear = ConvGeometry.linear


def ours(name):
    """List an operator's implementations in torch operations, but for its reference."""
    names = [entry.name for entry in OPERATORS[name].table]
    return [entry for entry in names if entry != "reference" and not entry.startswith("triton_")]


every_implementation = pytest.mark.parametrize(
    ("name", "implementation"), [(name, entry) for name in LAYER_OPERATORS for entry in ours(name)]
)
every_exact_fisher = pytest.mark.parametrize("implementation", ours("exact_fisher"))


def compute(name, implementation, a, g, geometry, **options):
    """Call an operator on what it takes, in random bases if in any."""
    operands = (a, geometry) if "input_factor" in name else (g, geometry) if "factor" in name else (a, g, geometry)
    bases = []
    if name == "eigenvalue_correction":
        bases = [basis.to(torch.promote_types(a.dtype, torch.float32)) for basis in random_bases(geometry)]
    return getattr(kfc_kernels, name)(*operands, *bases, implementation=implementation, **options)


def takes(name, implementation, geometry):
    return implementation in implementations(name, geometry)


def operands(geometry, batch, vectors=1):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(batch, geometry.in_channels, *geometry.in_size, generator=generator, dtype=torch.float64)
    shape = vectors, batch, geometry.out_channels, *geometry.out_size
    return a, torch.randn(shape, generator=generator, dtype=torch.float64)


def check(name, implementation, geometry, batch=3, vectors=1, layout=lambda maps: maps):
    """Hold an implementation to the reference, where it takes the layer."""
    if takes(name, implementation, geometry):
        a, g = operands(geometry, batch, vectors)
        result = compute(name, implementation, layout(a), layout(g[0]) if vectors == 1 else g, geometry)
        assert_close(result, compute(name, "reference", a, g, geometry), rtol=1e-10, atol=1e-10)


@pytest.fixture(autouse=True)
def small_batches_too(monkeypatch):
    monkeypatch.setattr(per_example, "BATCH_BYTES", 0)


@pytest.fixture
def tiny_chunks(monkeypatch):
    """Hold no more than one example at once, and cut sums of any size into blocks."""
    monkeypatch.setattr(corrections, "PATCHES_BYTES", 1)
    for module in (per_example, fisher_blocks, corrections, output_chunks):
        monkeypatch.setattr(module, "CHUNK_BYTES", 1, raising=False)
    monkeypatch.setattr(fisher_blocks, "EXAMPLES_OF_A_PRODUCT", 2)
    monkeypatch.setattr(symmetric, "ROWS_OF_A_HALF", 1)
    monkeypatch.setattr(symmetric, "WORK_OF_A_HALF", 1)
    monkeypatch.setattr(symmetric, "LEAST_BLOCK", 2)
    monkeypatch.setattr(filter_sums, "ELEMENTS_OF_A_PRODUCT", 1)
    monkeypatch.setattr(squares, "ELEMENTS_OF_A_PASS", 1)


@pytest.fixture(params=["columns", "convolution"])
def way(request, monkeypatch):
    """Per-example gradients as products with patches, or as a convolution's weight gradient."""
    monkeypatch.setattr(per_example, "INPUTS_OF_A_CONVOLUTION", 1 if request.param == "convolution" else 10**9)


@pytest.fixture
def poisoned(monkeypatch):
    """Fill what ``new_empty`` returns with NaN."""
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *size, **options: empty(*size, **options).fill_(math.nan))


@pytest.mark.usefixtures("way", "poisoned")
@every_implementation
@every_case
def test_equals_the_independent_computation(case, name, implementation):
    layer = case.build()
    if takes(name, implementation, layer.geometry):
        result = compute(name, implementation, layer.a, layer.g, layer.geometry)
        assert_close(result, LAYER_OPERATORS[name][1](layer))


@pytest.mark.usefixtures("way", "poisoned", "tiny_chunks")
@every_implementation
@every_case
def test_equals_it_in_chunks_and_blocks(case, name, implementation):
    layer = case.build()
    if takes(name, implementation, layer.geometry):
        result = compute(name, implementation, layer.a, layer.g, layer.geometry)
        assert_close(result, LAYER_OPERATORS[name][1](layer))


# Layers on which each way that an implementation has is the one it takes.
TURNS = {
    "rotated patches": conv(3, 30, (4, 5), 3, padding=1, bias=True),
    "rotated gradients": conv(3, 4, (8, 9), 3, padding=1, bias=True),
    "rotated 1x1 patches": conv(6, 40, (4, 5), 1, groups=2, bias=True),
    "1x1 of few outputs": conv(6, 4, (4, 5), 1, stride=2, bias=True),
    "convolution": conv(16, 4, (6, 5), 3, padding=1, groups=2, bias=True),
    "convolution of one example": conv(3, 4, (52, 50), 7, padding=3),
    "halves": linear(160, 150, bias=True),
    "halves in groups": conv(264, 260, (3, 3), 3, groups=2),
    "seen pixels by axis": conv(2, 3, (30, 29), (5, 4), stride=2, padding=1),
    "single position": conv(3, 4, (3, 4), (3, 4), bias=True),
    "three axes": conv(9, 4, (5, 4, 6), 3, padding=1, stride=(1, 2, 1), bias=True),
}


@pytest.mark.parametrize("vectors", [1, 3])
@every_implementation
@pytest.mark.parametrize("turn", TURNS)
def test_every_turn(turn, name, implementation, vectors):
    if name == "block_fisher" and TURNS[turn].parameters // TURNS[turn].groups > 2000:
        pytest.skip("the block is too large")
    check(name, implementation, TURNS[turn], 5, vectors)


@every_implementation
@pytest.mark.parametrize("layout", [channels_last, every_other])
def test_operands_of_any_layout(layout, name, implementation):
    for geometry in (conv(16, 4, (7, 6), 3, padding=1, groups=2, bias=True), conv(6, 4, (7, 6), 1, bias=True)):
        check(name, implementation, geometry, layout=layout)


@st.composite
def layers(draw):
    axes = draw(st.integers(0, 3))
    groups = draw(st.integers(1, 3))

    def per_axis(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * axes))

    try:
        geometry = conv(
            groups * draw(st.sampled_from([1, 2, 8])),
            groups * draw(st.integers(1, 3)),
            per_axis(1, 8 if axes < 3 else 4),
            per_axis(1, 4 if axes < 3 else 2),
            stride=per_axis(1, 3),
            padding=per_axis(0, 3),
            dilation=per_axis(1, 3),
            padding_mode=draw(st.sampled_from(["zeros", "replicate", "circular", "reflect"])),
            groups=groups,
            bias=draw(st.booleans()),
        )
    except ValueError:
        assume(False)
    return geometry, draw(st.integers(1, 4)), draw(st.integers(1, 3))


@every_implementation
@settings(max_examples=60, derandomize=True, deadline=None)
@given(layer=layers())
def test_drawn_layers(layer, name, implementation):
    check(name, implementation, *layer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@every_implementation
@parametrize(named("linear", "linear-shared", "1x1", "3x3-padding", "groups", "circular"))
def test_sums_in_float32(case, name, implementation, dtype):
    layer = case.build()
    if takes(name, implementation, layer.geometry):
        a, g = layer.a.to(dtype), layer.g.to(dtype)
        result = compute(name, implementation, a, g, layer.geometry)
        exact = compute(name, "reference", a.double(), g.double(), layer.geometry)
        assert result.dtype == torch.float32
        assert relative_error(result, exact) < 1e-6


@pytest.mark.parametrize("decay", [None, 0.0, 0.75, 1.0])
@every_implementation
@parametrize(named("linear", "1x1-groups", "groups"))
def test_running_average(case, name, implementation, decay):
    layer = case.build()
    if takes(name, implementation, layer.geometry):
        fresh = compute(name, "reference", layer.a, layer.g, layer.geometry)
        before = torch.full_like(fresh, math.nan if decay is None else 2.0)
        out = before.clone()
        assert compute(name, implementation, layer.a, layer.g, layer.geometry, out=out, decay=decay) is out
        assert_close(out, fresh if decay is None else decay * before + (1 - decay) * fresh)


@every_implementation
@parametrize(named("linear", "1x1", "3x3-padding", "groups"))
def test_operands_are_left_alone(case, name, implementation):
    layer = case.build()
    if takes(name, implementation, layer.geometry):
        a, g = layer.a.clone(), layer.g.clone()
        compute(name, implementation, a, g, layer.geometry)
        assert torch.equal(a, layer.a)
        assert torch.equal(g, layer.g)


@every_exact_fisher
@pytest.mark.parametrize(("vectors", "batch", "parameters"), [(1, 1, 1), (2, 5, 7), (3, 400, 150), (1, 300, 520)])
def test_exact_fisher(implementation, vectors, batch, parameters):
    gradients = torch.randn(vectors, batch, parameters, generator=torch.Generator().manual_seed(0)).double()
    expected = kfc_kernels.exact_fisher(gradients, implementation="reference")
    assert_close(kfc_kernels.exact_fisher(gradients, implementation=implementation), expected)
    average = torch.ones_like(expected)
    kfc_kernels.exact_fisher(gradients, implementation=implementation, out=average, decay=0.75)
    assert_close(average, 0.75 + 0.25 * expected)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        narrow = gradients.to(dtype)
        result = kfc_kernels.exact_fisher(narrow, implementation=implementation)
        exact = kfc_kernels.exact_fisher(narrow.double(), implementation="reference")
        assert result.dtype == torch.float32
        assert relative_error(result, exact) < 2e-6


def test_a_sum_of_no_products_is_refused():
    with pytest.raises(ValueError, match="a sum of no products has no size"):
        symmetric.symmetric_sum([], 1.0)


@pytest.mark.parametrize("size", [1, 63, 64, 127, 128, 300, 1000, 4000])
def test_blocks_cover_every_row_once(size):
    for rows in (1, 64, 10**6):
        covered = [row for block in symmetric.blocks_of(rows, size) for row in range(size)[block]]
        assert covered == list(range(size))


def test_halves_are_exactly_symmetric():
    rows = torch.randn(1, 2000, 300, generator=torch.Generator().manual_seed(0))
    blocks = symmetric.blocks_of(2000, 300)
    assert len(blocks) > 1
    product = symmetric.gram(rows, 0.1)
    for above, below in combinations(blocks, 2):
        assert torch.equal(product[:, above, below], product[:, below, above].mT)
    # A block on the diagonal is as symmetric as the library's own product.
    assert_close(product, product.mT)


@pytest.mark.parametrize("name", ["diagonal_fisher", "eigenvalue_correction"])
@pytest.mark.parametrize(
    "geometry",
    [
        conv(16, 24, (12, 12), 5, padding=2, bias=True),
        conv(16, 300, (6, 6), 3, padding=1),
        conv(3, 24, (16, 16), 5, padding=2, bias=True),
        conv(128, 256, (6, 6), 1, bias=True),
        conv(64, 64, (10, 10), 3, padding=1, groups=64),
    ],
    ids=["convolution", "rotated patches", "few channels", "1x1", "depthwise"],
)
def test_memory_does_not_grow_with_the_batch(geometry, name, monkeypatch):
    # Small layers, whose gradients of a whole batch a chunk would nearly hold.
    for module in (per_example, corrections, importlib.import_module("kfc_kernels.diagonal_fisher.chunked")):
        monkeypatch.setattr(module, "CHUNK_BYTES", 2**20)
    monkeypatch.setattr(corrections, "PATCHES_BYTES", 2**20)

    def peak(batch, implementation):
        a, g = (operand.float() for operand in operands(geometry, batch))
        run = peak_memory(lambda: compute(name, implementation, a, g, geometry), "cpu")
        return run[0].allocator_bytes

    assert peak(512, "chunked") <= 1.01 * peak(256, "chunked")
    assert peak(512, "chunked") < peak(512, "reference") / 10


@pytest.mark.parametrize("name", ["diagonal_fisher", "eigenvalue_correction"])
def test_squares_hold_no_gradient(name):
    geometry = linear(300, 200, bias=True)
    a, g = (operand.float() for operand in operands(geometry, 512))
    peaks = {
        entry: peak_memory(lambda: compute(name, entry, a, g, geometry), "cpu")[0].allocator_bytes  # noqa: B023
        for entry in ("squares", "reference")
    }
    assert peaks["squares"] < peaks["reference"] / 10


@pytest.mark.parametrize(
    ("name", "implementation", "geometry", "reason"),
    [
        ("diagonal_fisher", "squares", conv(2, 3, (5, 5), 3), "takes at most 4 output positions, not 9"),
        ("eigenvalue_correction", "squares", linear(2, 3, shared=(10,)), "takes at most 4 output positions, not 10"),
        ("diagonal_fisher", "chunked", linear(2, 3, shared=(5,)), "takes gradients of more .* bytes .*, not 96"),
        ("block_fisher", "chunked", linear(60, 1, shared=(5,)), "takes gradients .* not 960"),
        ("output_factor", "per_example", conv(2, 5, (2, 2), 1), "takes at most 128 .*, not 5 at 4"),
        ("output_factor", "chunked", conv(2, 258, (2, 2), 1, groups=2), None),
        ("output_factor", "chunked", conv(2, 256, (2, 2), 1, groups=2), "takes more than 128 .*, not 128"),
    ],
)
def test_declines_what_does_not_pay(monkeypatch, name, implementation, geometry, reason):
    monkeypatch.setattr(per_example, "BATCH_BYTES", 2**18)
    a, g = operands(geometry, 2)
    if reason is None:
        compute(name, implementation, a, g, geometry)
        return
    with pytest.raises(UnsupportedError, match=f"{name}: {implementation} {reason}"):
        compute(name, implementation, a, g, geometry)
