"""The autocovariance method against the sum over patches, in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kfc_bench.measure.memory import peak_memory
from kfc_kernels import ConvGeometry, UnsupportedError, input_factor
from kfc_kernels.catalogue import implementations
from kfc_kernels.dispatch import Case
from kfc_kernels.input_factor import autocovariance
from kfc_kernels.input_factor import work as counts
from tests.kernels.geometry_cases import every_case
from tests.kernels.test_theory import plug_in
from tests.kernels.triton_cases import channels_last, every_other

conv = ConvGeometry.conv


@pytest.fixture(params=["convolution", "products"])
def way(request, monkeypatch):
    """All lags as one weight gradient, or matrix products lag by lag."""
    monkeypatch.setattr(autocovariance, "CHANNELS_OF_A_PRODUCT", 10**9 if request.param == "convolution" else 0)


@pytest.fixture
def poisoned(monkeypatch):
    """Fill what ``new_empty`` returns with NaN."""
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *size, **options: empty(*size, **options).fill_(math.nan))


def check(geometry, batch=2, layout=lambda maps: maps):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(batch, geometry.in_channels, *geometry.in_size, dtype=torch.float64, generator=generator)
    out = autocovariance.input_factor(layout(a), geometry, out=None, decay=None)
    expected = input_factor(a, geometry, implementation="reference")
    # Where a window misses all pairs, they are taken off what they were added to.
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-13 * float(a.square().sum()))


@pytest.mark.usefixtures("way", "poisoned")
@every_case
def test_equals_the_sum_over_patches(case):
    layer = case.build()
    check(layer.geometry, layer.batch)


SIZES = (1, 1), (2, 3), (5, 4), (8, 11)
KERNELS = (1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (3, 1), (1, 5), (4, 2)


def geometries(size, kernel):
    options = itertools.product((0, 1, 2, 4, 7), (1, 2, (3, 1), (4, 3)), (1, 2, (1, 3)), ((1, False), (2, True)))
    for padding, stride, dilation, (groups, bias) in options:
        try:
            yield conv(4, 2, size, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias)
        except ValueError:
            continue


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_it_on_every_small_layer(size, kernel):
    for geometry in geometries(size, kernel):
        check(geometry)


@st.composite
def layers(draw):
    axes = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))

    def per_axis(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * axes))

    try:
        geometry = conv(
            groups * draw(st.integers(1, 3)),
            groups,
            per_axis(1, 9 if axes < 3 else 5),
            per_axis(1, 5 if axes < 3 else 3),
            stride=per_axis(1, 3),
            padding=per_axis(0, 4),
            dilation=per_axis(1, 3),
            padding_mode=draw(st.sampled_from(["zeros", "replicate", "circular"])),
            groups=groups,
            bias=draw(st.booleans()),
        )
    except ValueError:
        assume(False)
    return geometry, draw(st.integers(1, 4))


@settings(max_examples=150, derandomize=True, deadline=None)
@given(layers())
def test_drawn_layers(layer):
    check(*layer)


@pytest.mark.usefixtures("way", "poisoned")
@pytest.mark.parametrize("layout", [channels_last, every_other])
def test_inputs_of_any_layout(layout):
    check(conv(6, 4, (7, 6), 3, padding=1, groups=2, bias=True), 3, layout)


@pytest.mark.usefixtures("way", "poisoned")
def test_chunks_and_tiles_of_everything(monkeypatch):
    for name in ("CHUNK_BYTES", "SUMS_BYTES", "ROWS_BYTES", "CHANNELS_OF_A_TILE"):
        monkeypatch.setattr(autocovariance, name, 2)
    check(conv(5, 4, (7, 6), 3, padding=1, bias=True), 3)
    check(conv(6, 4, (7, 9), 5, stride=2, padding=2, groups=2), 3)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_sums_in_float32(dtype):
    geometry = conv(8, 8, (12, 12), 5, padding=2, bias=True)
    a = torch.randn(4, 8, 12, 12, generator=torch.Generator().manual_seed(0)).to(dtype)
    out = input_factor(a, geometry, implementation="autocovariance")
    expected = input_factor(a.double(), geometry, implementation="reference")
    assert out.dtype == torch.float32
    assert float((out - expected).norm() / expected.norm()) < 2e-6


@pytest.mark.parametrize("decay", [None, 0.0, 0.75, 1.0])
def test_running_average(decay):
    geometry = conv(3, 4, (6, 5), 3, padding=1)
    a = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    fresh = input_factor(a, geometry, implementation="autocovariance")
    before = torch.full_like(fresh, math.nan if decay is None else 2.0)
    out = before.clone()
    assert input_factor(a, geometry, implementation="autocovariance", out=out, decay=decay) is out
    torch.testing.assert_close(out, fresh if decay is None else decay * before + (1 - decay) * fresh)


# Layers on which the estimate from autocovariances that the paper warns of (section 3.1) has a negative eigenvalue.
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("batch", "channels", "size", "kernel"), [(2, 4, 4, 3), (1, 8, 6, 3), (2, 4, 8, 5)])
def test_is_positive_semidefinite_where_the_plug_in_estimate_is_not(batch, channels, size, kernel):
    a = torch.randn(batch, channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    geometry = conv(channels, 1, (size, size), kernel, padding=kernel // 2)
    exact = torch.linalg.eigvalsh(input_factor(a, geometry, implementation="autocovariance"))
    estimated = torch.linalg.eigvalsh(plug_in(a, kernel // 2, periodic=False))
    assert exact[0] > -1e-14 * exact[-1]
    assert estimated[0] < -1e-3 * estimated[-1]


def test_memory_does_not_grow_with_the_batch(monkeypatch):
    monkeypatch.setattr(autocovariance, "CHUNK_BYTES", 2**16)
    geometry = conv(8, 8, (16, 16), 3, padding=1)

    def peak(batch, implementation):
        a = torch.ones(batch, 8, 16, 16)
        return peak_memory(lambda: input_factor(a, geometry, implementation=implementation), "cpu")[0].allocator_bytes

    assert peak(64, "autocovariance") == peak(16, "autocovariance")
    assert peak(64, "autocovariance") < peak(64, "reference") / 10


@pytest.mark.parametrize(
    "geometry",
    [
        conv(4, 2, (6, 6), 1),
        conv(4, 2, (6, 6), 3, stride=2, padding=1),
        conv(3, 8, (32, 32), 16, stride=16),
        ConvGeometry.linear(5, 3, shared=(4,)),
    ],
)
def test_declines_where_lags_save_nothing(geometry):
    with pytest.raises(UnsupportedError, match=r"autocovariance has no fewer products at kernel .* than patches have"):
        input_factor(torch.ones(2, geometry.in_channels, *geometry.in_size), geometry, implementation="autocovariance")
    assert implementations("input_factor", geometry) == ["reference"]


def test_auto_takes_what_is_predicted_to_be_fastest():
    many = conv(64, 64, (28, 28), 3, padding=1)
    few = conv(2, 2, (4, 4), 3, padding=1)
    assert implementations("input_factor", many, batch=32) == ["autocovariance", "reference"]
    assert implementations("input_factor", few, batch=2) == ["reference", "autocovariance"]


def one(geometry):
    return Case(geometry, torch.float32, torch.device("cpu"))


@pytest.mark.parametrize(("kernel", "lags", "pairs"), [(3, 13, 81), (5, 41, 625), (7, 85, 2401)])
def test_products_of_a_stride_1_layer(kernel, lags, pairs):
    """On a map without edges, and with many channels, the saving is that of products: lags for pairs of offsets."""
    geometry = conv(512, 8, (4096, 4096), kernel, padding=kernel // 2)
    assert len(counts.lag_pairs(geometry)) == lags
    ratio = counts.reference_work(one(geometry)).flops / counts.least_flops(geometry, 1)
    assert ratio == pytest.approx(pairs / (lags - 0.5), rel=5e-3)


def test_products_of_a_strided_stem():
    stem = conv(3, 64, (224, 224), 7, stride=2, padding=3)
    flat = counts.unstrided(stem)
    assert (flat.in_channels, flat.kernel, flat.stride) == (12, (4, 4), (1, 1))
    assert counts.reference_work(one(stem)).flops / counts.least_flops(stem, 1) == pytest.approx(5.98, abs=0.01)


def test_padding_modes_count_as_padded_layers():
    wrapped = conv(4, 2, (6, 6), 3, padding=1, padding_mode="circular")
    assert counts.least_flops(wrapped, 2) == counts.least_flops(conv(4, 2, (8, 8), 3), 2)
