"""The correlation experiment: its plan, what it looks at, and what a measured case records."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from kfc_bench.errors import UserError
from kfc_bench.experiments import EXPERIMENTS
from kfc_bench.experiments.correlation.measurement import EXAMPLES_AT_ONCE, VISITS_PER_EPOCH, open_case
from kfc_bench.experiments.correlation.observed import Watch, conv_layers
from kfc_bench.experiments.correlation.plan import CHAINS, parse
from kfc_bench.experiments.looked_at import classify
from kfc_bench.experiments.table import Table
from kfc_bench.experiments.trained import fresh_network
from kfc_bench.problems.digits import digits
from kfc_bench.problems.networks import NETWORKS
from kfc_bench.resources import share
from kfc_bench.results.schema import COMMON, CORRELATION_ROW_COLUMNS, check_record
from kfc_bench.runner.suite import load_suite
from kfc_kernels import UnsupportedError

SWEEP = {"problem": "digits", "network": "digits", "epochs": 0.2, "examples": 150, "batch": 32, "lr": 0.05}


def plan(*sweeps, **defaults):
    return parse(Table({"defaults": defaults, "sweep": list(sweeps)}, "mine.toml"), "cpu")


def only(**changes):
    (case,) = plan(SWEEP | changes).due({})
    return case


def measured(case):
    measurement = open_case(case)
    visits = 1
    while measurement.visit():
        visits += 1
    return visits, measurement.record()


def test_a_record_has_a_row_per_layer_and_quantity():
    case = only()
    visits, record = measured(case)
    check_record(dict.fromkeys(COMMON) | {"experiment": "correlation"} | case.columns() | record)
    assert visits == VISITS_PER_EPOCH * 0.2 + -(-150 // EXAMPLES_AT_ONCE) + 1
    assert 0 < record["test_error"] < 1
    assert [(row["layer"], row["pooling"], row["quantity"]) for row in record["rows"]] == [
        (layer, "max", quantity) for layer in ("conv1", "conv2") for quantity in ("derivative", "activation")
    ]
    for row in record["rows"]:
        assert tuple(row) == CORRELATION_ROW_COLUMNS
        assert all(0 < row[name] <= 1 for name in ("neighbour", "second", "mean", "cross_mean", "cross_p95"))
    assert measured(case)[1] == record


def test_averages_spread_derivatives_and_maxima_keep_them_apart():
    """The paper's finding, on networks as initialised, where it is a matter of the pooling alone."""
    maximum, average = (
        measured(only(network=network, epochs=0))[1]["rows"] for network in ("digits", "digits_average")
    )
    for place in (0, 2):
        assert maximum[place]["quantity"] == "derivative"
        assert maximum[place]["neighbour"] < 0.5 * average[place]["neighbour"]


def test_activations_are_the_first_nonlinearity_s_and_derivatives_the_pre_activations():
    model = fresh_network("digits", 0, "cpu").eval()
    images = digits().test.images[:6]
    pre = model.conv1(images)
    seen = Watch(model, 0).see(images)[0]
    torch.testing.assert_close(seen["activation"], pre.relu())
    assert seen["derivative"].shape == pre.shape
    behind_pooling = Watch(fresh_network("cifar10", 0, "cpu").eval(), 0).see(torch.randn(2, 3, 32, 32))[0]
    assert behind_pooling["derivative"].shape == (2, 32, 32, 32)
    assert behind_pooling["activation"].shape == (2, 32, 16, 16)


def test_labels_are_the_model_s():
    """Of a model that is sure of class 3, derivatives are those of the label 3, whatever the images show."""
    model = fresh_network("digits", 0, "cpu").eval()
    images = digits().test.images[:20]
    with torch.no_grad():
        model.fc.weight *= 0.01
        model.fc.bias.copy_(15.0 * functional.one_hot(torch.tensor(3), 10))
    sure = Watch(model, 0).see(images)[1]["derivative"]
    pre = model[:3](images)
    pre = model.conv2(pre).detach().requires_grad_()
    loss = functional.cross_entropy(model[4:](pre), torch.full((20,), 3), reduction="sum")
    torch.testing.assert_close(sure, torch.autograd.grad(loss, pre)[0])


def test_labels_follow_the_seed():
    model = fresh_network("digits", 0, "cpu").eval()
    images = digits().test.images[:20]
    first, again, other = (Watch(model, seed).see(images)[1]["derivative"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("network", CHAINS)
def test_every_network_is_a_chain(network):
    model = NETWORKS[network].build()
    assert isinstance(model, nn.Sequential)
    average = network.endswith("_average")
    poolings = {found.layer.name: found.pooling for found in conv_layers(model)}
    expected = dict.fromkeys(poolings, "average" if average else "max")
    if network == "cifar10_layers18":
        expected["conv2"] = "average"
    if network.startswith("cifar10"):
        expected["conv3"] = "average"
    assert poolings == expected


def test_two_poolings_are_both_named():
    chain = (nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2))
    (found,) = conv_layers(nn.Sequential(*chain))
    assert found.pooling == "max, average"


def test_what_went_wrong_is_told_apart():
    assert classify(FloatingPointError("the loss is nan")) == ("diverged", "the loss is nan")
    assert classify(UnsupportedError("no data"))[0] == "unsupported"
    assert classify(RuntimeError("bad"))[0] == "crashed"


def test_more_examples_than_there_are_is_unsupported():
    with pytest.raises(UnsupportedError, match="examples = 301, but 'digits' has 300 test images"):
        open_case(only(examples=301))


def test_absent_data_is_unsupported(monkeypatch):
    monkeypatch.setattr(
        "kfc_bench.problems.data_set.DataSet.find", lambda _: (_ for _ in ()).throw(UserError("absent"))
    )
    (case,) = plan({"problem": "cifar10", "network": "cifar10"}).due({})
    with pytest.raises(UnsupportedError, match="absent"):
        open_case(case)


def test_every_combination_is_a_case():
    cases = plan(SWEEP | {"network": ["digits", "digits_average"], "seed": [0, 1], "epochs": [0, 1]}).due({})
    assert len({case.case_id for case in cases}) == len(cases) == 8
    assert cases[0].label == "correlation of digits on digits, 0 epochs, seed 0"
    assert len({case.group for case in cases}) == 8


REFUSED = [
    ({"network": "resnet20"}, "network 'resnet20' is not one of"),
    ({"network": "cifar10"}, "network 'cifar10' takes images of 3x32x32, 'digits' has 1x8x8"),
    ({"problem": "mnist"}, "problem 'mnist' is not one of"),
    ({"epochs": -1}, "epochs = -1 must be at least 0"),
    ({"examples": 0}, "examples = 0 must be at least 1"),
    ({"batch": 1198}, "batch = 1198, but 'digits' has 1197 training images"),
    ({"lr": 0.0}, r"lr = 0\.0 must be positive"),
    ({"momentum": 1.0}, "momentum = 1 must be at least 0 and below 1"),
    ({"maps": 3}, "unknown key 'maps'"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_a_mistake_is_named(changes, message):
    with pytest.raises(UserError, match=message):
        plan(SWEEP | changes)


@pytest.mark.parametrize(
    ("variant", "problems"), [(None, {"fashion32"}), ("fashion", {"fashion32"}), ("full", {"cifar10", "svhn"})]
)
def test_the_suite_sets_maxima_against_averages(variant, problems):
    (section,) = load_suite(share("suites") / "correlation.toml", "cpu", variant).sections
    assert section.kind in EXPERIMENTS
    cases = [case.columns() for case in section.plan.due({})]
    assert {case["problem"] for case in cases} == problems
    networks = {case["network"] for case in cases}
    assert {f"{network}_average" for network in networks if not network.endswith("_average")} <= networks
