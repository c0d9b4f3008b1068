"""The float64 reference itself: against im2col by torch, against the kernels, and against whole gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn import functional
from torch.testing import assert_close

from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.reference import difference, gradients, patches, reference, within_groups
from kfc_kernels import ConvGeometry, input_factor, output_factor, reduced_input_factor, reduced_output_factor
from kfc_kernels.catalogue import OPERATORS
from kfc_kernels.dispatch import Case
from tests.audit.cases import every_option, network

IMAGES = [option for option in OPTIONS.values() if "Conv2d" in option.layer]


def padded(layer, x):
    """Pad as the module says, sides from its own list, which torch orders from the last axis."""
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    if layer.padding == "valid":
        return x
    sides = layer._reversed_padding_repeated_twice
    return functional.pad(x, sides, mode=mode)


@pytest.mark.parametrize("option", IMAGES, ids=[option.name for option in IMAGES])
def test_patches_are_what_unfold_cuts_from_the_padded_input(option):
    model, _, x, _ = network(option)
    layer = model[0]
    columns = functional.unfold(padded(layer, x), layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    per_group = columns.unflatten(1, (layer.groups, -1)).repeat_interleave(layer.out_channels // layer.groups, 1)
    assert_close(patches(layer, x), per_group.mT)


def of_ours(option):
    """Return what the kernels take: the layer, its input and vectors, axes of positions last."""
    model, loss, x, labels = network(option)
    geometry = dataclasses.replace(ConvGeometry.from_module(model[0], x), bias=False)
    vectors = gradients(model, loss, x, labels, "type2").unflatten(3, geometry.out_size or (1,))
    a = x.movedim(-1, 1) if isinstance(model[0], nn.Linear) else x
    return geometry, a, vectors.squeeze(-1) if not geometry.out_size else vectors


def dense(omega, gamma):
    pairs = zip(gamma.reshape(-1, *gamma.shape[-2:]), omega.reshape(-1, *omega.shape[-2:]), strict=True)
    return torch.block_diag(*(torch.kron(*pair) for pair in pairs))


def scale(option):
    _, loss, x, _ = network(option)
    return len(x) if loss.reduction == "sum" else 1


@every_option
def test_expand_is_what_every_implementation_on_this_machine_says(option):
    expected = reference(*network(option))["weight"]
    geometry, a, vectors = of_ours(option)
    gamma = output_factor(vectors, geometry)
    names = OPERATORS["input_factor"].accepting(Case(geometry, torch.float64, a.device, len(a)))
    assert "reference" in names
    for name in names:
        omega = input_factor(a, geometry, implementation=name)
        assert_close(scale(option) * dense(omega, gamma), expected, msg=lambda text, name=name: f"{name}: {text}")


@every_option
def test_reduce_is_what_the_reduced_factors_say(option):
    expected = reference(*network(option), inputs="reduce", outputs="reduce")["weight"]
    geometry, a, vectors = of_ours(option)
    omega, gamma = reduced_input_factor(a, geometry), reduced_output_factor(vectors, geometry)
    assert_close(scale(option) * dense(omega, gamma), expected)


@pytest.mark.parametrize("name", ["linear", "plain", "sum", "squared_mean", "squared_sum"])
def test_with_one_position_and_one_example_it_is_the_losses_generalized_gauss_newton(name):
    """There the factors lose nothing, and the whole block is J^T H J of the loss as it is reduced."""
    option = OPTIONS[name]
    model, loss, x, labels = network(option)
    x, labels = x[:1], labels[:1]
    if name != "linear":
        x = x[:, :, :3, :3]
        model = nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.Flatten(), nn.Linear(6, 3))
    weight = model[0].weight.detach()

    def logits(value):
        return model[1:](functional_call(model[0], {"weight": value}, x)).squeeze(0)

    jacobian = torch.autograd.functional.jacobian(logits, weight).flatten(1)
    curvature = hessian(lambda z: loss(z.unsqueeze(0), labels), logits(weight).detach())
    assert_close(reference(model, loss, x, labels)["weight"], jacobian.mT @ curvature @ jacobian)


def test_the_empirical_fisher_is_that_of_the_labels():
    model, loss, x, labels = network(OPTIONS["linear"])
    rows = [
        torch.autograd.grad(loss(model(example), label), model[0].weight)[0].flatten()
        for example, label in zip(x.split(1), labels.split(1), strict=True)
    ]
    g = gradients(model, loss, x, labels, "empirical")
    per_example = torch.einsum("vnkt,nktd->nkd", g, patches(model[0], x)).flatten(1)
    assert_close(per_example, torch.stack(rows))


@pytest.mark.parametrize("name", ["squared_mean", "squared_sum"])
def test_a_normal_distributions_fisher_is_that_of_half_the_squared_error_summed_over_outputs(name):
    model, loss, x, labels = network(OPTIONS[name])
    found = reference(model, loss, x, labels, fisher="normal")["weight"]
    times = {"mean": 3 / 2, "sum": 1 / 2}[loss.reduction]
    assert_close(found, times * reference(model, loss, x, labels)["weight"])


@pytest.mark.parametrize(("name", "positions"), [("plain", 42), ("tokens", 7), ("grid", 6), ("linear", 1)])
def test_a_mean_over_positions_in_both_factors_is_one_over_their_number_of_kfc(name, positions):
    arguments = network(OPTIONS[name])
    assert_close(positions * reference(*arguments, inputs="mean")["weight"], reference(*arguments)["weight"])


def test_a_bias_in_the_joint_block_comes_after_the_weights_of_its_output():
    model, loss, x, labels = network(OPTIONS["bias_joint"])
    found = reference(model, loss, x, labels)
    outputs, weights = len(model[0].weight), model[0].weight[0].numel()
    joint = found["weight and bias"].view(2 * [outputs, weights + 1])
    assert_close(joint[:, :-1, :, :-1].reshape(found["weight"].shape), found["weight"])
    assert_close(joint[:, -1, :, -1], found["bias"])


def test_what_lies_between_groups_counts_for_nobody():
    model, loss, x, labels = network(OPTIONS["groups"])
    layer, expected = model[0], reference(model, loss, x, labels)["weight"]
    between = 1 - within_groups(layer, layer.weight[0].numel())
    assert between.sum() == between.numel() / 2
    assert difference(layer, expected + between, expected) == 0
    assert difference(layer, 1.5 * expected, expected) == pytest.approx(0.5)
    assert torch.tensor(difference(layer, expected[:-1, :-1], expected)).isnan()
