import pytest
import torch
from torch import nn

from kfc_kernels import ConvGeometry
from tests.kernels.geometry_cases import every_case


@every_case
def test_output_size_is_the_modules(case):
    layer = case.build()
    assert layer.geometry.out_size == tuple(layer.forward(layer.a).shape[2:])
    assert layer.geometry.positions == layer.forward(layer.a)[0, 0].numel()


@every_case
def test_sizes_count_the_parameters(case):
    layer = case.build()
    per_output = sum(parameter[0].numel() for parameter in layer.module.parameters())
    assert layer.geometry.patch_dim == per_output
    assert layer.geometry.parameters == sum(parameter.numel() for parameter in layer.module.parameters())
    assert layer.geometry.group_outputs * layer.geometry.groups == layer.module.weight.shape[0]
    assert layer.geometry.kernel_elements == layer.module.weight[0, 0].numel()


def test_alexnet_conv2():
    geometry = ConvGeometry.conv(48, 128, (27, 27), 5, padding=2, bias=True)
    assert (geometry.patch_dim, geometry.out_channels, geometry.positions) == (1201, 128, 729)
    assert geometry.parameters - geometry.out_channels == 153_600


def test_conv_spells_numbers_out():
    module = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    read = ConvGeometry.from_module(module, torch.zeros(1, 4, 5, 6))
    assert read == ConvGeometry.conv(4, 6, (5, 6), 3, stride=2, padding=1, groups=2, bias=True)
    assert read.stride == (2, 2)
    assert read.padding == ((1, 1), (1, 1))


def test_linear_is_the_1x1_case():
    read = ConvGeometry.from_module(nn.Linear(5, 3), torch.zeros(2, 7, 4, 5))
    assert read == ConvGeometry.linear(5, 3, shared=(7, 4), bias=True)
    assert (read.kernel, read.out_size, read.patch_dim) == ((1, 1), (7, 4), 6)


def test_same_padding_puts_the_odd_pixel_after():
    assert ConvGeometry.conv(1, 1, (5, 5), (2, 3), padding="same").padding == ((0, 1), (1, 1))


@pytest.mark.parametrize("groups", [1, 2])
def test_results_lead_with_groups_only_where_there_are_some(groups):
    geometry = ConvGeometry.conv(2, 2, (3,), 1, groups=groups)
    assert geometry.grouped(4, 5) == ((2, 4, 5) if groups == 2 else (4, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"kernel": 7}, "does not fit", id="kernel over the map"),
        pytest.param({"dilation": 4}, "does not fit", id="dilated kernel over the map"),
        pytest.param({"groups": 3}, "do not divide into 3 groups", id="groups do not divide"),
        pytest.param({"out_channels": 3, "groups": 2}, "do not divide into 2 groups", id="groups divide inputs only"),
        pytest.param({"padding": "same", "stride": 2}, "needs stride 1", id="same with stride"),
        pytest.param({"padding": "full"}, "neither a number, nor 'same', nor 'valid'", id="unknown padding"),
        pytest.param({"padding": -1}, "must not be negative", id="negative padding"),
        pytest.param({"padding": (1, 1, 1)}, "3 entries for 2 spatial axes", id="padding for three axes"),
        pytest.param({"padding_mode": "mirror"}, "'mirror' is not one of zeros, circular", id="unknown padding mode"),
        pytest.param(
            {"padding": 5, "padding_mode": "reflect"}, "fewer pixels than the map", id="reflected beyond the map"
        ),
        pytest.param({"padding": 6, "padding_mode": "circular"}, "at most the pixels of the map", id="wrapped twice"),
        pytest.param({"kernel": (3,)}, "1 entries for 2 spatial axes", id="kernel for one axis"),
        pytest.param({"kernel": (3, 0)}, "kernel must be at least 1", id="no kernel"),
        pytest.param({"stride": 0}, "stride must be at least 1", id="no stride"),
        pytest.param({"dilation": 0}, "dilation must be at least 1", id="no dilation"),
        pytest.param({"groups": 0}, "groups must be at least 1", id="no groups"),
        pytest.param({"in_channels": 0}, "in_channels must be at least 1", id="no inputs"),
        pytest.param({"out_channels": 0}, "out_channels must be at least 1", id="no outputs"),
        pytest.param({"in_size": (0, 5)}, "in_size must be at least 1", id="no map"),
    ],
)
def test_what_no_layer_can_have_is_refused(change, message):
    arguments = {"in_channels": 4, "out_channels": 4, "in_size": (5, 5), "kernel": 3} | change
    with pytest.raises(ValueError, match=message):
        ConvGeometry.conv(**arguments)


@pytest.mark.parametrize(
    "module", [nn.LSTM(2, 2), nn.ConvTranspose2d(2, 2, 3), nn.BatchNorm2d(2)], ids=lambda module: type(module).__name__
)
def test_other_modules_are_refused(module):
    with pytest.raises(TypeError, match=f"no geometry for {type(module).__name__}: Conv1d, Conv2d, Conv3d and Linear"):
        ConvGeometry.from_module(module, torch.zeros(1, 2, 5, 5))


def test_unbatched_input_is_refused():
    with pytest.raises(ValueError, match="2 entries for 1 spatial axes"):
        ConvGeometry.from_module(nn.Conv2d(2, 2, 3), torch.zeros(2, 5, 5))


@pytest.mark.parametrize("shape", [(3, 2, 5), (3, 2, 5, 6), (3, 4, 5, 5), (0, 2, 5, 5), (2, 5, 5)])
def test_wrong_inputs_are_refused(shape):
    geometry = ConvGeometry.conv(2, 3, (5, 5), 3)
    with pytest.raises(ValueError, match=r"the geometry takes \[N, 2, \*\[5, 5\]\]"):
        geometry.batch_of(torch.zeros(shape))


@pytest.mark.parametrize(
    "shape", [(4, 3, 3), (4, 2, 3, 3), (4, 3, 5, 5), (0, 3, 3, 3), (2, 4, 5, 3, 3), (1, 2, 4, 3, 3, 3)]
)
def test_wrong_vectors_are_refused(shape):
    geometry = ConvGeometry.conv(2, 3, (5, 5), 3)
    with pytest.raises(ValueError, match=r"with K = 3, out = \[3, 3\]"):
        geometry.vectors_of(torch.zeros(shape))


def test_vectors_get_their_axis():
    geometry = ConvGeometry.conv(2, 3, (5, 5), 3)
    assert geometry.vectors_of(torch.zeros(4, 3, 3, 3)).shape == (1, 4, 3, 3, 3)
    assert geometry.vectors_of(torch.zeros(2, 4, 3, 3, 3)).shape == (2, 4, 3, 3, 3)
