"""Which layers have a Fisher block, and what their hooks see."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from kfc_bench.curvature.capture import Capture
from kfc_bench.curvature.layers import UnsupportedLayerError, find_layers
from kfc_bench.optim import NaturalGradient
from tests.curvature.nets import named


def nested(layer):
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(layer), nn.Linear(4, 2))


def freeze_bias(model):
    model[0].bias.requires_grad_(False)
    return model


def tied():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    return nn.Sequential(first, second)


def frozen(model):
    return model.requires_grad_(False)


UNSUPPORTED = {
    "shared": (tied, r"layer '1' \(Linear\) shares a parameter with layer '0'"),
    "frozen": (lambda: frozen(nn.Sequential(nn.Linear(3, 2))), "Sequential has no trainable layer"),
    "empty": (lambda: nn.Sequential(nn.ReLU()), "Sequential has no trainable layer"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_unsupported_layers_are_named(case):
    build, message = UNSUPPORTED[case]
    with pytest.raises(UnsupportedLayerError, match=message):
        find_layers(build())


def test_frozen_layers_are_skipped():
    model = nested(frozen(nn.BatchNorm1d(4)))
    frozen(model[0])
    assert [layer.name for layer in find_layers(model)] == ["2"]


def test_frozen_layers_take_no_step():
    model = nn.Sequential(frozen(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)).double()
    optimizer = NaturalGradient(model, 0.1)
    before = [parameter.clone() for parameter in model.parameters()]
    outputs = model(torch.ones(2, 3, dtype=torch.float64))
    optimizer.backward(outputs.logsumexp(1).mean(), outputs)
    optimizer.step()
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert moved == [False, False, True, True]


def test_a_frozen_bias_leaves_the_weights_their_block():
    model = freeze_bias(nn.Sequential(nn.Linear(3, 2))).double()
    optimizer = NaturalGradient(model, 0.1)
    bias = model[0].bias.clone()
    outputs = model(torch.ones(2, 3, dtype=torch.float64))
    optimizer.backward(outputs.logsumexp(1).mean(), outputs)
    optimizer.step()
    ((omega, _),) = optimizer.curvature.statistics
    assert_close(omega, torch.ones(3, 3, dtype=torch.float64))
    assert torch.equal(model[0].bias, bias)


class Half(nn.Module):
    """One of two layers runs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
        self.which = 0

    def forward(self, x):
        return self.layers[self.which](x)


def half_step(optimizer, model, which):
    model.which = which
    optimizer.zero_grad()
    outputs = model(torch.ones(2, 3))
    optimizer.backward(outputs.logsumexp(1).mean(), outputs)
    optimizer.step()


def test_a_layer_that_takes_no_part_in_a_step_stays_as_it_is():
    model = Half()
    optimizer = NaturalGradient(model, 0.1, momentum=0.0, statistics_every=1, inverses_every=1)
    before = [parameter.clone() for parameter in model.parameters()]
    half_step(optimizer, model, 0)
    half_step(optimizer, model, 0)
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert moved == [True, True, False, False]
    half_step(optimizer, model, 1)
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert moved == [True, True, True, True]
    ((part, _),) = optimizer.curvature.parts
    assert part.seen == [2, 1]


def test_a_layer_that_joins_with_statistics_is_inverted_at_once():
    model = Half()
    optimizer = NaturalGradient(model, 0.1, statistics_every=1, inverses_every=10)
    half_step(optimizer, model, 0)
    before = model.layers[1].weight.clone()
    half_step(optimizer, model, 1)
    assert not torch.equal(model.layers[1].weight, before)


def test_a_layer_that_joins_between_statistics_is_named():
    model = Half()
    optimizer = NaturalGradient(model, 0.1, statistics_every=10)
    half_step(optimizer, model, 0)
    with pytest.raises(RuntimeError, match=r"layer 'layers\.1' has a gradient but was in no batch of statistics"):
        half_step(optimizer, model, 1)


def test_hooks_that_never_fire_are_an_error():
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = NaturalGradient(model, 0.1)
    outputs = model[0].weight.sum() * torch.ones(2, 2)
    with pytest.raises(RuntimeError, match="layer '0' did not run in the last forward pass"):
        optimizer.backward(outputs.sum(), outputs)


def seen(model, *forwards):
    """Capture after the given forward passes, each a context manager and an input; return inputs and gradients."""
    capture = Capture(model, find_layers(model))
    x = torch.randn(3, *named("conv-linear").shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    outputs = model(x)
    for context, train in forwards:
        model.train(train)
        with context():
            model(torch.ones_like(x[:2]))
    vectors = torch.eye(3, dtype=torch.float64).expand(1, 3, 3)
    return [
        tensor for batch in capture.backpropagate(outputs, vectors) for tensor in (batch.inputs, batch.output_gradients)
    ]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_an_evaluation_between_forward_and_backward_does_not_disturb(context):
    wanted = seen(named("conv-linear").build())
    assert_close(seen(named("conv-linear").build(), (context, False)), wanted, rtol=0, atol=0)


def test_an_evaluation_before_the_forward_does_not_disturb():
    model = named("conv-linear").build()
    optimizer = NaturalGradient(model, 0.1, approximation="exact", fisher="type2")
    x = torch.ones(2, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        model(x)
    outputs = model(x)
    optimizer.backward(outputs.logsumexp(1).mean(), outputs)
    assert optimizer.curvature.observations == 1


def test_inplace_nonlinearities_change_nothing():
    inplace, outofplace = named("conv-linear").build(), named("conv-linear").build()
    outofplace[1].inplace = False
    assert inplace[1].inplace
    assert_close(seen(inplace), seen(outofplace), rtol=0, atol=0)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_joint_gradients_split_back_into_parameters(groups, bias):
    module = nn.Conv2d(4, 6, 3, groups=groups, bias=bias)
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)
    (layer,) = find_layers(nn.Sequential(module))
    joint = layer.gradient()
    assert joint.shape == ((groups, 6 // groups, 36 // groups + bias) if groups > 1 else (6, 36 + bias))
    for parameter, piece in layer.split(joint):
        assert torch.equal(piece, parameter.grad)
