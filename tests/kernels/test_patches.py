import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from kfc_kernels.patches import example_gradients, extract_patches, pad
from tests.kernels.geometry_cases import CASES, every_case, make_layer, named, parametrize

UNFOLDABLE = [
    case
    for case in CASES
    if case.kind is nn.Conv2d and "padding_mode" not in case.options and case.options.get("padding") != "same"
]


@parametrize(UNFOLDABLE)
def test_equals_unfold_in_its_domain(case):
    layer = case.build()
    module = layer.module
    padding = 0 if module.padding == "valid" else module.padding
    columns = functional.unfold(layer.a, module.kernel_size, module.dilation, padding, module.stride)
    unfolded = columns.unflatten(1, (module.groups, -1)).movedim(1, 0).mT
    patches = extract_patches(layer.a, layer.geometry)
    assert_close(patches[..., : unfolded.shape[-1]], unfolded, rtol=0, atol=0)
    assert (patches[..., unfolded.shape[-1] :] == 1).all()


@every_case
def test_equals_what_each_output_sees(case):
    layer = case.build()
    assert_close(extract_patches(layer.a, layer.geometry), layer.patches, rtol=0, atol=0)


@every_case
def test_example_gradients_equal_autograd(case):
    layer = case.build()
    assert_close(example_gradients(layer.a, layer.g, layer.geometry), layer.example_gradients)


@every_case
def test_example_gradients_sum_to_the_batch_gradient(case):
    layer = case.build()
    summed = example_gradients(layer.a, layer.g[0], layer.geometry).sum((1, 2)).flatten(0, 1)
    assert_close(summed, layer.gradient(layer.forward(layer.a), layer.g[0]))


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda a: a.to(memory_format=torch.channels_last), id="channels-last"),
        pytest.param(lambda a: torch.stack([a, a], dim=-1)[..., 1], id="strided"),
        pytest.param(lambda a: torch.cat([a, a])[a.shape[0] :], id="offset"),
        pytest.param(lambda a: a.mT.contiguous().mT, id="transposed"),
    ],
)
@parametrize(named("3x3", "1x1", "groups", "circular"))
def test_memory_layout_does_not_matter(case, view):
    layer = case.build()
    assert_close(extract_patches(view(layer.a), layer.geometry), layer.patches, rtol=0, atol=0)


def test_padding_is_a_view_where_there_is_none():
    layer = named("3x3")[0].build()
    assert pad(layer.a, layer.geometry) is layer.a


@st.composite
def layers(draw):
    axes = draw(st.integers(1, 3))

    def per_axis(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    mode = draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"]))
    kernel, stride, dilation, padding = per_axis(1, 3), per_axis(1, 3), per_axis(1, 2), per_axis(0, 3)
    smallest = [
        max(1, d * (k - 1) + 1 - 2 * p, {"circular": p, "reflect": p + 1}.get(mode, 1))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    size = tuple(low + extra for low, extra in zip(smallest, per_axis(0, 2), strict=True))
    groups = draw(st.integers(1, 3))
    module = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=mode,
    )
    return make_layer(module, size=size, batch=draw(st.integers(1, 3)))


@given(layer=layers())
@settings(derandomize=True, deadline=None, max_examples=50)
def test_drawn_geometries_agree_with_autograd(layer):
    assert layer.geometry.out_size == tuple(layer.g.shape[3:])
    assert_close(example_gradients(layer.a, layer.g, layer.geometry), layer.example_gradients)
