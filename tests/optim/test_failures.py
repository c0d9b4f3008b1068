"""What goes wrong in training: numbers that are none, factors without full rank, layers that rest, scaled gradients."""

import copy
import gc

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.optim import KFCPre, NaturalGradient
from tests.optim.test_natural_gradient import batch, equal, network, parameters, train

every_approximation = pytest.mark.parametrize("name", APPROXIMATIONS)


def step_on(model, optimizer, images, labels):
    optimizer.zero_grad()
    logits = model(images)
    loss = functional.cross_entropy(logits, labels)
    optimizer.backward(loss, logits)
    optimizer.step()


@every_approximation
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=str)
@pytest.mark.parametrize("due", [True, False], ids=["statistics-due", "between"])
def test_a_batch_that_is_not_finite_is_skipped(name, value, due):
    def build():
        model = network()
        return model, NaturalGradient(
            model, 0.02, approximation=name, damping=0.1, statistics_every=1 if due else 10, inverses_every=2
        )

    (model, optimizer), (clean, other) = build(), build()
    train(model, optimizer, range(2))
    train(clean, other, range(2))
    images, labels = batch(2)
    poisoned = images.clone()
    poisoned[3, 0, 2, 2] = value
    before = copy.deepcopy((parameters(model), optimizer.curvature.statistics, optimizer.curvature.observations))
    step_on(model, optimizer, poisoned, labels)
    assert optimizer.skipped == 1
    after = (parameters(model), optimizer.curvature.statistics, optimizer.curvature.observations)
    assert_close(after, before, rtol=0, atol=0)
    other._generator.set_state(optimizer._generator.get_state())
    train(model, optimizer, range(2, 5))
    train(clean, other, range(2, 5))
    assert equal(parameters(model), parameters(clean))
    assert (optimizer.skipped, other.skipped) == (1, 0)


def test_a_gradient_that_overflows_is_skipped():
    model = network()
    optimizer = KFCPre(model, 0.02, statistics_every=10, averaging=2.0)
    train(model, optimizer, [0])
    before = parameters(model), parameters(optimizer.averaged), int(optimizer.averaged.n_averaged)
    images, labels = batch(1)
    optimizer.zero_grad()
    logits = model(images)
    optimizer.backward(functional.cross_entropy(logits, labels), logits)
    model.conv1.weight.grad[0, 0, 0, 0] = float("inf")
    optimizer.step()
    after = parameters(model), parameters(optimizer.averaged), int(optimizer.averaged.n_averaged)
    assert_close(after, before, rtol=0, atol=0)
    assert optimizer.state_dict()["skipped"] == 1


@every_approximation
def test_a_batch_of_one(name):
    """Every factor of one example lacks rank."""
    model = network()
    optimizer = KFCPre(model, 0.02, approximation=name, damping=0.01, statistics_every=1, inverses_every=1)
    before = parameters(model)
    for step in range(3):
        step_on(model, optimizer, *batch(step, size=1))
    assert not equal(parameters(model), before)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert optimizer.skipped == 0


@every_approximation
def test_inputs_that_are_zero_leave_factors_without_rank(name):
    model = network(dtype=torch.float64)
    optimizer = NaturalGradient(model, 0.02, approximation=name, damping=1e-3)
    images, labels = batch(0, torch.float64)
    step_on(model, optimizer, torch.zeros_like(images), labels)
    assert optimizer.skipped == 0
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_eval_mode_trains_and_leaves_running_statistics():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(72, 10)
    ).eval()
    optimizer = KFCPre(model, 0.02, damping=0.1)
    before, statistics = parameters(model), [buffer.clone() for buffer in model.buffers()]
    train(model, optimizer, range(2))
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert equal(statistics, list(model.buffers()))


def test_accumulated_gradients_are_those_of_the_whole_batch():
    whole, parts = network(dtype=torch.float64), network(dtype=torch.float64)
    options = {"fisher": "type2", "damping": 0.1, "statistics_every": 3}
    optimizer, accumulating = NaturalGradient(whole, 0.1, **options), NaturalGradient(parts, 0.1, **options)
    for step in range(4):
        images, labels = batch(step, torch.float64)
        step_on(whole, optimizer, images, labels)
        accumulating.zero_grad()
        for half in (slice(8), slice(8, 16)):
            logits = parts(images[half])
            accumulating.backward(functional.cross_entropy(logits, labels[half]) / 2, logits)
        accumulating.step()
        if step == 0:
            assert_close(accumulating.curvature.statistics, optimizer.curvature.statistics)
            assert_close(parameters(parts), parameters(whole))
    assert (optimizer.curvature.observations, accumulating.curvature.observations) == (2, 4)


def test_autocast_keeps_statistics_in_the_parameters_dtype():
    model, plain = network(), network()
    images, labels = batch(0)
    found = []
    for net, enabled in ((model, True), (plain, False)):
        optimizer = KFCPre(net, 0.02, damping=0.1, fisher="type2")
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = net(images)
            loss = functional.cross_entropy(logits, labels)
        assert logits.dtype == (torch.bfloat16 if enabled else torch.float32)
        optimizer.backward(loss, logits)
        optimizer.step()
        found.append([tensor for layer in optimizer.curvature.statistics for tensor in layer])
    assert all(tensor.dtype == torch.float32 for tensor in found[0])
    assert_close(found[0], found[1], rtol=0.1, atol=0.02)
    assert_close(parameters(model), parameters(plain), rtol=0.05, atol=0.01)


def test_a_gradient_scaler_is_refused():
    model = network()
    optimizer = NaturalGradient(model, 0.02)
    images, labels = batch(0)
    before = parameters(model)
    scaler = torch.amp.GradScaler("cpu")
    logits = model(images)
    loss = functional.cross_entropy(logits, labels)
    optimizer.backward(scaler.scale(loss), logits)
    with pytest.raises(RuntimeError, match=r"NaturalGradient does not take torch\.amp\.GradScaler.*bfloat16"):
        scaler.step(optimizer)
    assert equal(parameters(model), before)


class Shifted(nn.Module):
    """A network with a parameter of its own, which the statistics run once more, example by example."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(64))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(x.flatten(1) + self.shift)


def test_clipping_keeps_the_inputs_of_the_batch_itself():
    model = Shifted()
    with pytest.warns(UserWarning, match="the diagonal one is used for '' \\(Shifted\\)"):
        optimizer = KFCPre(model, 0.1, damping=0.1)
    before = parameters(model)
    train(model, optimizer, range(2))
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


class TwoHeads(nn.Module):
    """The second head is in the loss, but not in the outputs."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.aside = nn.Linear(64, 8), nn.Linear(8, 10), nn.Linear(8, 1)

    def forward(self, x):
        hidden = self.body(x.flatten(1))
        self.extra = self.aside(hidden).square().mean()
        return self.head(hidden)


def test_a_layer_that_the_outputs_do_not_depend_on_is_named():
    model = TwoHeads()
    optimizer = NaturalGradient(model, 0.1)
    images, labels = batch(0)
    logits = model(images)
    optimizer.backward(functional.cross_entropy(logits, labels) + model.extra, logits)
    with pytest.raises(RuntimeError, match=r"layer 'aside' has a gradient but .* its output must reach the outputs"):
        optimizer.step()


def test_a_step_that_fails_gives_the_gradients_back():
    model = TwoHeads()
    optimizer = NaturalGradient(model, 0.1, weight_decay=0.5)
    images, labels = batch(0)
    logits = model(images)
    optimizer.backward(functional.cross_entropy(logits, labels) + model.extra, logits)
    before = [parameter.grad.clone() for parameter in model.parameters()]
    with pytest.raises(RuntimeError, match="layer 'aside'"):
        optimizer.step()
    assert equal([parameter.grad for parameter in model.parameters()], before)


def test_a_wholly_masked_batch_is_skipped():
    model = network()
    optimizer = KFCPre(model, 0.1)
    images, labels = batch(0)
    before = parameters(model)
    logits = model(images)
    loss = functional.cross_entropy(logits, torch.full_like(labels, -100), reduction="sum")
    optimizer.backward(loss, logits, torch.zeros(16, dtype=torch.bool))
    optimizer.step()
    assert (optimizer.skipped, optimizer.curvature.observations) == (1, 0)
    assert equal(parameters(model), before)


def test_a_gradient_that_is_not_finite_leaves_statistics_that_are_due():
    model = network()
    optimizer = NaturalGradient(model, 0.1)
    images, labels = batch(0)
    logits = model(images)
    logits.register_hook(lambda gradient: gradient * float("inf"))
    loss = functional.cross_entropy(logits, labels)
    assert bool(loss.isfinite())
    optimizer.backward(loss, logits)
    optimizer.step()
    assert (optimizer.skipped, optimizer.curvature.observations) == (1, 0)


def test_a_dropped_batch_is_forgotten():
    model = network()
    optimizer = NaturalGradient(model, 0.1)
    images, labels = batch(0)
    logits = model(images * float("nan"))
    optimizer.backward(functional.cross_entropy(logits, labels), logits)
    train(model, optimizer, [0])
    assert (optimizer.skipped, optimizer.curvature.observations) == (0, 1)


def test_hooks_leave_with_their_optimizer():
    model = network()
    for _ in range(3):
        optimizer = KFCPre(model, 0.1)
    assert len(model._forward_pre_hooks) == 2
    del optimizer
    gc.collect()
    assert not model._forward_pre_hooks
    assert not model.conv1._forward_hooks


def test_a_network_can_be_copied_and_saved_between_forward_and_backward(tmp_path):
    model = network()
    optimizer = KFCPre(model, 0.1, damping=0.1)
    images, labels = batch(0)
    logits = model(images)
    twin = copy.deepcopy(model)
    torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    assert_close([twin(images), loaded(images)], [logits, logits], rtol=0, atol=0)
    optimizer.backward(functional.cross_entropy(logits, labels), logits)
    optimizer.step()
    assert optimizer.curvature.observations == 1


def test_a_state_from_another_device_or_dtype_is_taken():
    model = network()
    optimizer = NaturalGradient(model, 0.1, damping=0.1)
    train(model, optimizer, range(2))
    double = network(dtype=torch.float64)
    resumed = NaturalGradient(double, 0.1, damping=0.1)
    resumed.load_state_dict(optimizer.state_dict())
    before = optimizer.state[model.conv1.weight]["momentum_buffer"].clone()
    train(double, resumed, range(2, 4), dtype=torch.float64)
    assert resumed.curvature.statistics[0][0].dtype == torch.float64
    assert torch.equal(optimizer.state[model.conv1.weight]["momentum_buffer"], before)


def test_requests_add_up():
    model = network()
    optimizer = NaturalGradient(model, 0.1, statistics_every=100, inverses_every=100)
    train(model, optimizer, [0])
    optimizer.request(statistics=True)
    optimizer.request(inverses=True)
    train(model, optimizer, [1])
    assert optimizer._refreshed == (2, 3)


def test_part_of_a_layer_in_the_groups_is_trained_alone():
    model = network()
    optimizer = NaturalGradient(model, 0.1, params=[model.fc.weight, model.conv1.weight], damping=0.1)
    before = parameters(model)
    train(model, optimizer, range(2))
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert moved == [True, False, False, False, True, False]
    assert [layer.has_bias for layer in optimizer._layers] == [False, False]
    assert len(optimizer.curvature.statistics) == 2


def test_param_groups_have_their_own_rates_and_decays():
    model = network(dtype=torch.float64)
    groups = [
        {"params": [*model.conv1.parameters(), *model.conv2.parameters()], "lr": 0.0},
        {"params": [model.fc.weight], "weight_decay": 0.5},
        {"params": [model.fc.bias], "weight_decay": 0.0},
    ]
    optimizer = NaturalGradient(model, 0.1, params=groups, momentum=0.0, damping=0.1, fisher="type2")
    before = parameters(model)
    step_on(model, optimizer, *batch(0, torch.float64))
    assert [torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)] == [True] * 4 + [
        False
    ] * 2
    assert [part.damping for part, _ in optimizer.curvature.parts] == [0.1, 0.6]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.5, 0.0]
    omega, gamma = optimizer.curvature.inverses[2]
    rows = torch.cat([model.fc.weight.grad + 0.5 * before[4], model.fc.bias.grad.unsqueeze(1)], 1)
    assert_close(model.fc.weight.detach(), before[4] - 0.1 * (gamma @ rows @ omega)[:, :-1])


def test_parameters_outside_the_groups_stay():
    model = network()
    optimizer = KFCPre(model, 0.1, params=model.fc.parameters(), damping=0.1)
    before = parameters(model)
    train(model, optimizer, range(2))
    assert [torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)] == [True] * 4 + [
        False
    ] * 2
