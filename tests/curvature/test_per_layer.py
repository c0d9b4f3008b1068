"""Approximations and dampings by layer."""

import copy

import pytest
from torch import nn
from torch.testing import assert_close

from kfc_bench.curvature.layers import find_layers
from kfc_bench.optim import NaturalGradient
from tests.curvature.autodiff import TIGHT, normal, see, seeded, statistics
from tests.curvature.nets import DAMPING

KRONECKER = ["kfc", "kfc_reduce", "kfc_eigen", "ekfac", "sua", "prong", "diagonal", "mini_block", "block_diagonal"]
NAMES = ["conv", "norm", "fc"]


class Net(nn.Module):
    """A convolution, a normalisation and a linear layer, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2)
        self.norm = nn.GroupNorm(1, 2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).tanh().flatten(1))


def build():
    return seeded(Net), normal(3, 1, 3, 3)


def seen(approximation, **options):
    model, x = build()
    optimizer = see(model, x, approximation, **options)
    if optimizer.curvature.observations:
        optimizer.curvature.refresh()
    gradients = [layer.gradient() for layer in find_layers(model)]
    if approximation == "identity" and not options:
        return {name: [] for name in NAMES}, dict(zip(NAMES, gradients, strict=True))
    naturals = optimizer.curvature.precondition(gradients)
    return statistics(optimizer, model), dict(zip(NAMES, naturals, strict=True))


@pytest.mark.parametrize("choice", [*KRONECKER, "identity"])
@pytest.mark.parametrize("layer", ["conv", "fc"])
def test_a_layer_has_the_approximation_named_for_it(layer, choice):
    mixed, naturals = seen("kfc", per_layer={layer: choice})
    of_choice, of_default = seen(choice), seen("kfc")
    for name in mixed:
        wanted = of_choice if name == layer else of_default
        assert_close(mixed[name], wanted[0][name], rtol=0, atol=0)
        assert_close(naturals[name], wanted[1][name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("choice", ["diagonal", "identity"])
def test_so_has_a_normalisation(choice):
    mixed, naturals = seen("kfc", per_layer={"norm": choice})
    assert_close(mixed["norm"], seen(choice)[0]["norm"], rtol=0, atol=0)
    assert_close(naturals["norm"], seen(choice)[1]["norm"], rtol=0, atol=0)
    assert_close(mixed["fc"], seen("kfc")[0]["fc"], rtol=0, atol=0)


def test_each_layer_may_have_its_own():
    choices = {"conv": "block_diagonal", "norm": "diagonal", "fc": "ekfac"}
    mixed, naturals = seen("kfc", per_layer=choices)
    for name, choice in choices.items():
        assert_close(mixed[name], seen(choice)[0][name], rtol=0, atol=0)
        assert_close(naturals[name], seen(choice)[1][name], rtol=1e-12, atol=1e-12)


def test_a_layer_beside_the_identity_is_preconditioned():
    mixed, naturals = seen("identity", per_layer={"fc": "kfc"})
    assert_close(naturals["fc"], seen("kfc")[1]["fc"], **TIGHT)
    assert_close(naturals["conv"], seen("identity")[1]["conv"], rtol=0, atol=0)
    assert mixed["conv"] == []


def test_the_exact_fisher_of_all_layers_may_be_named_for_each():
    model, x = build()
    named = see(model, x, "kfc", per_layer=dict.fromkeys(NAMES, "exact"))
    assert_close(named.curvature.statistics, see(*build(), "exact").curvature.statistics, rtol=0, atol=0)


REFUSED = {
    "layer": ("kfc", {"head": "kfc_reduce"}, "per_layer names 'head', but the layers are conv, norm, fc"),
    "approximation": ("kfc", {"fc": "shampoo"}, "approximation 'shampoo' of 'fc' is not one of kfc, kfc_reduce, "),
    "exact-beside-others": ("kfc", {"fc": "exact"}, "the exact Fisher is one matrix: it takes all layers"),
    "others-beside-exact": ("exact", {"fc": "kfc"}, "the exact Fisher is one matrix: it takes all layers"),
    "identity-beside-exact": ("exact", {"fc": "identity"}, "the exact Fisher is one matrix: it takes all layers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused(case):
    approximation, per_layer, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        NaturalGradient(build()[0], 0.1, approximation=approximation, per_layer=per_layer)


def decayed(model):
    return [
        {"params": model.conv.parameters(), "weight_decay": 0.5},
        {"params": [*model.norm.parameters(), *model.fc.parameters()]},
    ]


@pytest.mark.parametrize("approximation", KRONECKER)
def test_each_weight_decay_damps_its_own_layers(approximation):
    model, x = build()
    optimizer = see(model, x, approximation, params=decayed(model), weight_decay=0.25)
    optimizer.curvature.refresh()
    gradients = [layer.gradient() for layer in find_layers(model)]
    found = optimizer.curvature.precondition(gradients)
    for index, damping in enumerate([DAMPING + 0.5, DAMPING + 0.25, DAMPING + 0.25]):
        alone = see(*build(), approximation, damping=damping)
        alone.curvature.refresh()
        assert_close(found[index], alone.curvature.precondition(gradients)[index], rtol=1e-12, atol=1e-12)


def test_the_step_has_each_groups_own_l2_term():
    model, x = build()
    optimizer = see(model, x, "diagonal", params=decayed(model), momentum=0.0)
    (diagonal,) = statistics(optimizer, model)["conv"]
    layer = find_layers(model)[0]
    before = layer.joint([parameter.detach().clone() for parameter in layer.parameters])
    gradient = layer.gradient() + 0.5 * before
    optimizer.step()
    after = layer.joint([parameter.detach() for parameter in layer.parameters])
    assert_close(before - after, 0.1 * gradient / (diagonal + DAMPING + 0.5), **TIGHT)


def test_the_exact_fisher_takes_one_weight_decay():
    model, _ = build()
    with pytest.raises(ValueError, match="under one damping and weight decay"):
        NaturalGradient(model, 0.1, approximation="exact", params=decayed(model))


def test_what_is_not_given_to_the_optimizer_is_no_layer_of_it():
    model, _ = build()
    with pytest.raises(ValueError, match="per_layer names 'conv', but the layers are norm, fc"):
        NaturalGradient(
            model, 0.1, params=[*model.norm.parameters(), *model.fc.parameters()], per_layer={"conv": "kfc"}
        )


@pytest.mark.parametrize("per_layer", [{"fc": "kfc_reduce", "norm": "diagonal"}, {}], ids=["mixed", "one"])
def test_a_state_restores_every_part(per_layer):
    (model, x), options = build(), {"per_layer": per_layer, "statistics_every": 2}
    first = see(model, x, "kfc", params=decayed(model), **options)
    first.step()
    other = seeded(Net)
    other.load_state_dict(model.state_dict())
    second = NaturalGradient(other, 0.1, damping=DAMPING, fisher="type2", params=decayed(other), **options)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for optimizer, network in ((first, model), (second, other)):
        optimizer.zero_grad()
        outputs = network(2 * x)
        optimizer.backward(outputs.logsumexp(1).mean(), outputs)
        optimizer.step()
    assert_close(dict(other.named_parameters()), dict(model.named_parameters()), rtol=0, atol=0)


def test_a_state_of_other_parts_is_refused():
    model, x = build()
    state = see(model, x, "kfc", per_layer={"fc": "diagonal"}).state_dict()
    with pytest.raises(ValueError, match="the state has 3 approximations, but the optimizer 2"):
        NaturalGradient(seeded(Net), 0.1).load_state_dict(state)


def test_seen_batches_are_counted_by_part():
    model, x = build()
    optimizer = see(model, x, "kfc", per_layer={"fc": "diagonal"})
    assert optimizer.curvature.observations == 1
    assert {type(part).__name__: (part.seen, indices) for part, indices in optimizer.curvature.parts} == {
        "KFC": ([1], [0]),
        "ExampleBlock": ([1], [1]),
        "Diagonal": ([1], [2]),
    }
