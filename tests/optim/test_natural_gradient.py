import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.curvature.layers import UnsupportedLayerError
from kfc_bench.optim import NaturalGradient
from kfc_bench.problems.digits import digits
from kfc_bench.problems.networks import NETWORKS

every_approximation = pytest.mark.parametrize("name", APPROXIMATIONS)


def network(name="digits_small", dtype=torch.float32):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NETWORKS[name].build().to(dtype)


def batch(step, dtype=torch.float32, size=16):
    train = digits().train
    rows = slice(step * size, (step + 1) * size)
    return train.images[rows].to(dtype), train.labels[rows]


def train(model, optimizer, steps, *, natural=True, dtype=torch.float32):
    for step in steps:
        optimizer.zero_grad()
        images, labels = batch(step, dtype)
        logits = model(images)
        loss = functional.cross_entropy(logits, labels)
        if natural:
            optimizer.backward(loss, logits)
        else:
            loss.backward()
        optimizer.step()


def parameters(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_identity_is_torch_sgd_bit_for_bit(weight_decay, momentum):
    ours, theirs = network("digits"), network("digits")
    options = {"momentum": momentum, "weight_decay": weight_decay, "foreach": False}
    train(ours, NaturalGradient(ours, 0.1, approximation="identity", **options), range(20))
    train(theirs, torch.optim.SGD(theirs.parameters(), 0.1, **options), range(20), natural=False)
    assert equal(parameters(ours), parameters(theirs))
    assert not equal(parameters(ours), parameters(network("digits")))


def test_kfc_steps_by_hand():
    lr, mu, decay, gamma = 0.1, 0.8, 0.01, 0.05
    model = nn.Sequential(nn.Linear(3, 2)).double()
    (layer,) = model
    optimizer = NaturalGradient(
        model, lr, momentum=mu, weight_decay=decay, damping=gamma, fisher="type2", statistics_every=1, inverses_every=1
    )
    velocity, omega, gamma_factor = 0.0, None, None
    for step in range(3):
        x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        labels = torch.tensor([0, 1, 1, 0, 1])
        before = torch.cat([layer.weight, layer.bias.unsqueeze(1)], 1).detach()
        logits = model(x)
        loss = functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        optimizer.backward(loss, logits)
        optimizer.step()

        inputs = torch.cat([x, torch.ones(5, 1).double()], 1)
        p = logits.detach().softmax(1)
        new_omega = inputs.T @ inputs / 5
        new_gamma = (p.mean(0).diag() - p.T @ p / 5).detach()
        e = min(1 - 1 / (step + 1), 0.95)
        omega = new_omega if omega is None else e * omega + (1 - e) * new_omega
        gamma_factor = new_gamma if gamma_factor is None else e * gamma_factor + (1 - e) * new_gamma
        gradient = (p - functional.one_hot(labels, 2)).T @ inputs / 5 + decay * before
        pi = ((omega.trace() / 4) / (gamma_factor.trace() / 2)).sqrt()
        root = (gamma + decay) ** 0.5
        natural = torch.linalg.solve(gamma_factor + root / pi * torch.eye(2).double(), gradient)
        natural = torch.linalg.solve(omega + root * pi * torch.eye(4).double(), natural, left=False)
        velocity = mu * velocity + natural
        after = torch.cat([layer.weight, layer.bias.unsqueeze(1)], 1).detach()
        assert_close(after, before - lr * velocity, rtol=1e-10, atol=1e-12)


class Counted:
    """Counts refreshes of an optimizer's curvature, step by step."""

    def __init__(self, monkeypatch, optimizer):
        self.refreshes = 0
        self.curvature = optimizer.curvature
        refresh = self.curvature.refresh

        def counting():
            self.refreshes += 1
            refresh()

        monkeypatch.setattr(self.curvature, "refresh", counting)

    def take(self):
        return self.curvature.observations, self.refreshes


def test_statistics_and_inverses_come_at_their_periods(monkeypatch):
    model = network()
    optimizer = NaturalGradient(model, 0.01, statistics_every=2, inverses_every=3)
    counted, history = Counted(monkeypatch, optimizer), []
    for step in range(8):
        train(model, optimizer, [step])
        history.append(counted.take())
    assert [observations for observations, _ in history] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [refreshes for _, refreshes in history] == [1, 1, 1, 2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, (0, 0)),
        ({"statistics": True}, (1, 0)),
        ({"inverses": True}, (0, 1)),
        ({"statistics": True, "inverses": True}, (1, 1)),
    ],
    ids=str,
)
def test_request_holds_for_one_step(monkeypatch, request_, expected):
    model = network()
    optimizer = NaturalGradient(model, 0.01, statistics_every=100, inverses_every=100)
    counted = Counted(monkeypatch, optimizer)
    train(model, optimizer, [0])
    before = counted.take()
    optimizer.request(**request_)
    train(model, optimizer, [1])
    assert tuple(now - then for now, then in zip(counted.take(), before, strict=True)) == expected
    train(model, optimizer, [2])
    assert tuple(now - then for now, then in zip(counted.take(), before, strict=True)) == expected


@every_approximation
@pytest.mark.parametrize("cut", [3, 4])
def test_saved_and_resumed_equals_uninterrupted(name, cut):
    def build(seed=0):
        model = network()
        return model, NaturalGradient(
            model, 0.02, approximation=name, damping=0.1, statistics_every=2, inverses_every=4, seed=seed
        )

    whole, optimizer = build()
    train(whole, optimizer, range(9))
    first, optimizer = build()
    train(first, optimizer, range(cut))
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(first, optimizer, range(cut, 9))
    second, resumed = build(seed=5)
    file.seek(0)
    saved = torch.load(file)
    second.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    train(second, resumed, range(cut, 9))
    assert equal(parameters(second), parameters(whole))
    assert equal(parameters(first), parameters(whole))


def test_a_loaded_state_is_a_copy():
    model = network()
    optimizer = NaturalGradient(model, 0.02, statistics_every=1, inverses_every=1)
    train(model, optimizer, range(2))
    state = optimizer.state_dict()
    kept = copy.deepcopy(state["curvature"])
    other = network()
    resumed = NaturalGradient(other, 0.02, statistics_every=1, inverses_every=1)
    resumed.load_state_dict(state)
    train(other, resumed, range(2))
    assert_close(optimizer.curvature.statistics, kept["parts"][0]["statistics"], rtol=0, atol=0)


def test_learning_rate_scheduler():
    model = network()
    optimizer = NaturalGradient(model, 0.1, momentum=0.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.0)
    train(model, optimizer, [0])
    scheduler.step()
    before = parameters(model)
    train(model, optimizer, [1])
    assert equal(parameters(model), before)


def test_closure():
    plain, closed = network(), network()
    train(plain, NaturalGradient(plain, 0.05), [0])
    optimizer = NaturalGradient(closed, 0.05)
    images, labels = batch(0)

    def closure():
        optimizer.zero_grad()
        logits = closed(images)
        loss = functional.cross_entropy(logits, labels)
        optimizer.backward(loss, logits)
        return loss.item()

    assert optimizer.step(closure) == pytest.approx(functional.cross_entropy(network()(images), labels).item())
    assert equal(parameters(plain), parameters(closed))


def test_step_without_backward_when_statistics_are_due():
    model = network()
    optimizer = NaturalGradient(model, 0.05)
    images, labels = batch(0)
    functional.cross_entropy(model(images), labels).backward()
    before = parameters(model)
    with pytest.raises(RuntimeError, match=r"call optimizer\.backward\(loss, outputs\) instead of loss\.backward\(\)"):
        optimizer.step()
    assert equal(parameters(model), before)


def test_without_gradients_nothing_moves():
    model = network()
    optimizer = NaturalGradient(model, 0.05)
    train(model, optimizer, [0])
    before = parameters(model)
    optimizer.zero_grad()
    optimizer.step()
    assert equal(parameters(model), before)
    assert optimizer.skipped == 0


def test_a_layer_with_a_gradient_in_part_is_named():
    model = network()
    optimizer = NaturalGradient(model, 0.05)
    train(model, optimizer, [0])
    model.conv2.bias.grad = None
    with pytest.raises(RuntimeError, match="layer 'conv2' has a gradient for some of its parameters only"):
        optimizer.step()


BAD = {
    "approximation": ({"approximation": "kfcc"}, "approximation 'kfcc' is not one of kfc"),
    "likelihood": ({"likelihood": "poisson"}, "likelihood 'poisson' is not one of categorical, gaussian"),
    "fisher": ({"fisher": "type1"}, "fisher 'type1' is not one of mc, type2, empirical"),
    "reduction": ({"reduction": "none"}, "reduction 'none' is not one of mean, sum"),
    "samples": ({"samples": 0}, "samples must be at least 1, not 0"),
    "statistics_every": ({"statistics_every": 0}, "statistics_every must be at least 1, not 0"),
    "inverses_every": ({"inverses_every": -1}, "inverses_every must be at least 1, not -1"),
    "weight_decay": ({"weight_decay": -1.0}, "weight_decay must not be negative"),
    "damping": ({"damping": 0.0}, "damping must be positive, not 0.0"),
    "lr": ({"lr": -1.0}, "Invalid learning rate"),
    "momentum": ({"momentum": -0.1}, "Invalid momentum"),
    "decay": ({"decay": 1.5}, "decay must lie in"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        NaturalGradient(network(), **{"lr": 0.1, **options})


def test_outputs_must_be_of_two_axes():
    model = network()
    optimizer = NaturalGradient(model, 0.1)
    images, _ = batch(0)
    logits = model(images)
    with pytest.raises(ValueError, match=r"outputs have shape \[16\], but a categorical likelihood takes \[N, C\]"):
        optimizer.backward(logits.sum(), logits[:, 0])


@pytest.mark.parametrize(
    "mask", [torch.ones(16), torch.ones(15, dtype=torch.bool), torch.ones(16, 10, dtype=torch.bool)], ids=str
)
def test_a_mask_is_bool_of_examples_or_positions(mask):
    model = network()
    optimizer = NaturalGradient(model, 0.1)
    logits = model(batch(0)[0])
    with pytest.raises(ValueError, match=r"mask is torch\.\w+ of shape \[1.*\], but it takes bool of \[16\]"):
        optimizer.backward(logits.sum(), logits, mask)


def test_nothing_trainable_is_refused_at_once():
    with pytest.raises(UnsupportedLayerError, match="no trainable layer"):
        NaturalGradient(nn.Sequential(nn.Linear(2, 2)).requires_grad_(False), 0.1, params=[torch.ones(1)])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_empirical_vectors_have_the_scale_of_the_loss(reduction):
    model = network(dtype=torch.float64)
    optimizer = NaturalGradient(model, 0.1, fisher="empirical", reduction=reduction)
    images, labels = batch(0, torch.float64)
    logits = model(images)
    optimizer.backward(functional.cross_entropy(logits, labels, reduction=reduction), logits)
    g = (logits.softmax(1) - functional.one_hot(labels, 10)).detach()
    examples = 16 if reduction == "sum" else 1
    assert_close(optimizer.curvature.statistics[-1][1], examples * g.T @ g / 16)


@every_approximation
def test_after_a_step_the_gradient_is_still_the_loss_gradient(name):
    model = network()
    optimizer = NaturalGradient(model, 0.1, approximation=name, weight_decay=0.1)
    images, labels = batch(0)
    wanted = torch.autograd.grad(functional.cross_entropy(model(images), labels), list(model.parameters()))
    train(model, optimizer, [0])
    assert_close([parameter.grad for parameter in model.parameters()], list(wanted))


def test_hooks_sleep_between_statistics():
    model = network()
    optimizer = NaturalGradient(model, 0.1, statistics_every=2)
    train(model, optimizer, [0])
    assert not optimizer._capture.enabled
    model(batch(1)[0])
    assert not optimizer._capture._seen
