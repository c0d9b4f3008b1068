"""KFC-pre against Algorithm 1, written out with autograd and explicit matrices."""

import io
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn import functional
from torch.testing import assert_close

from kfc_bench.optim import KFCPre, NaturalGradient
from tests.optim.test_natural_gradient import batch, equal, network, parameters, train

LR, MU, TAU, DAMPING, CLIP = 0.5, 0.8, 7.0, 0.05, 0.02


def small(bias=True):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(3, 4, bias=bias), nn.Tanh(), nn.Linear(4, 3, bias=bias)).double()


def examples(step, size=8):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(size, 3, dtype=torch.float64, generator=generator)
    return x, torch.randint(3, (size,), generator=generator)


def jacobian(model, x):
    """Return [N, C, P] of the outputs by all parameters, in the order of ``model.parameters()``."""
    values = {name: value.detach() for name, value in model.named_parameters()}
    rows = jacrev(lambda held: functional_call(model, held, (x,)))(values)
    return torch.cat([row.flatten(2) for row in rows.values()], 2).detach()


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def layer_products(model, x, labels, weight_decay):
    """Return type-2 factors of each layer, mean-loss gradients with the l2 term, both by hand."""
    first, _, last = model
    hidden = torch.tanh(first(x)).detach()
    p = model(x).softmax(1).detach()
    roots = p.sqrt().unsqueeze(2) * (torch.eye(3, dtype=torch.float64) - p.unsqueeze(1))
    back = (roots @ last.weight.detach()) * (1 - hidden**2).unsqueeze(1)
    one = torch.ones(len(x), 1, dtype=torch.float64)
    gradients = torch.autograd.grad(functional.cross_entropy(model(x), labels), list(model.parameters()))
    found = []
    for module, inputs, vectors, pair in (
        (first, x, back, gradients[:2]),
        (last, hidden, roots, gradients[2:]),
    ):
        patches = torch.cat([inputs, one], 1)
        omega, rows = patches.T @ patches / len(x), vectors.flatten(0, 1)
        decayed = [g + weight_decay * q.detach() for g, q in zip(pair, (module.weight, module.bias), strict=True)]
        found.append((omega, rows.T @ rows / len(x), torch.cat([decayed[0], decayed[1].unsqueeze(1)], 1)))
    return found


def natural(factors, gradient, damping):
    omega, gamma = factors
    root = math.sqrt(damping)
    pi = ((omega.trace() / len(omega)) / (gamma.trace() / len(gamma))).sqrt()
    left = torch.linalg.inv(gamma + root / pi * torch.eye(len(gamma)).double())
    return left @ gradient @ torch.linalg.inv(omega + root * pi * torch.eye(len(omega)).double())


@pytest.mark.parametrize("clip", [CLIP, 1e3], ids=["clipped", "unclipped"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_it_is_algorithm_1(clip, weight_decay):
    model, twin = small(), small()
    optimizer = KFCPre(
        model,
        LR,
        averaging=TAU,
        clip=clip,
        momentum=MU,
        weight_decay=weight_decay,
        damping=DAMPING,
        fisher="type2",
        statistics_every=2,
        inverses_every=4,
    )
    data = [examples(100 + index) for index in range(3)]
    optimizer.initialize(data)

    xi = math.exp(-1 / TAU)
    collected = [layer_products(twin, *pair, 0.0) for pair in data]
    averages = [[sum(layers[index][k] for layers in collected) / 3 for k in (0, 1)] for index in (0, 1)]
    inverted = [[factor.clone() for factor in layer] for layer in averages]
    theta, velocity, observed = flat(twin.parameters()), 0.0, 3
    theta_bar, coefficients = theta.clone(), []
    for k in range(1, 10):
        x, labels = examples(k)
        optimizer.zero_grad()
        logits = model(x)
        optimizer.backward(functional.cross_entropy(logits, labels), logits)
        optimizer.step()

        products = layer_products(twin, x, labels, weight_decay)
        if k % 2 == 0:
            observed += 1
            e = min(1 - 1 / observed, 0.95)
            averages = [
                [e * old + (1 - e) * new for old, new in zip(layer, found[:2], strict=True)]
                for layer, found in zip(averages, products, strict=True)
            ]
        if k % 4 == 0:
            inverted = [[factor.clone() for factor in layer] for layer in averages]
        steps = [
            natural(factors, found[2], DAMPING + weight_decay)
            for factors, found in zip(inverted, products, strict=True)
        ]
        v = -LR * torch.cat([torch.cat([step[:, :-1].flatten(), step[:, -1]]) for step in steps])
        part = x[: math.ceil(len(x) / 4)]
        moved, p = jacobian(twin, part) @ v, twin(part).softmax(1).detach()
        nu = ((p * moved**2).sum(1) - (p * moved).sum(1) ** 2).mean() + weight_decay * v @ v
        coefficients.append(1 / math.sqrt(max(1.0, float(nu) / clip)))
        velocity = MU * velocity + coefficients[-1] * v
        theta = theta + velocity
        theta_bar = xi * theta_bar + (1 - xi) * theta
        nn.utils.vector_to_parameters(theta, twin.parameters())
        assert_close(flat(model.parameters()), theta, rtol=1e-12, atol=1e-12)
        assert_close(flat(optimizer.averaged.module.parameters()), theta_bar, rtol=1e-12, atol=1e-12)
    assert (min(coefficients) < 0.9) is (clip == CLIP)


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli", "square", "gaussian"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_v_f_v_is_that_of_the_exact_fisher_of_the_loss(likelihood, reduction):
    model = network(dtype=torch.float64)
    images, labels = batch(0, torch.float64)
    targets = functional.one_hot(labels, 10).double()
    losses = {
        "categorical": lambda outputs: functional.cross_entropy(outputs, labels, reduction=reduction),
        "bernoulli": lambda outputs: functional.binary_cross_entropy_with_logits(outputs, targets, reduction=reduction),
        "square": lambda outputs: functional.mse_loss(outputs, targets, reduction=reduction),
        "gaussian": lambda outputs: (
            (outputs - targets).square().sum() / 2 / (len(outputs) if reduction == "mean" else 1)
        ),
    }
    optimizer = NaturalGradient(
        model,
        0.1,
        approximation="exact",
        fisher="type2",
        likelihood=likelihood,
        reduction=reduction,
        clip=1.0,
        clip_share=1,
    )
    logits = model(images)
    optimizer.backward(losses[likelihood](logits), logits)
    direction = [torch.randn_like(parameter) for parameter in model.parameters()]
    moving = list(model.parameters())
    measured = optimizer._clip.quadratic(moving, direction, *optimizer._last)
    ((fisher,),) = optimizer.curvature.statistics
    v = torch.cat(
        [
            layer.joint([direction[[id(q) for q in moving].index(id(p))] for p in layer.parameters]).flatten()
            for layer in optimizer._layers
        ]
    )
    assert_close(measured, v @ fisher @ v, rtol=1e-10, atol=0)


def test_a_mask_leaves_ignored_targets_out_of_the_clipping():
    images, labels = batch(0, torch.float64)
    keep = torch.tensor([True, False] * 8)
    found = []
    for x, y, mask in ((images, labels.where(keep, -100), keep), (images[keep], labels[keep], None)):
        model = network(dtype=torch.float64)
        optimizer = NaturalGradient(model, 0.1, fisher="type2", clip=1e-4, clip_share=1.0, damping=0.1)
        logits = model(x)
        optimizer.backward(functional.cross_entropy(logits, y), logits, mask)
        optimizer.step()
        found.append(flat(model.parameters()))
    assert_close(*found, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_part_of_a_batch_are_its_first_examples_that_count(reduction):
    images, labels = batch(0, torch.float64)
    keep = torch.tensor([False] * 6 + [True] * 8 + [False] * 2)
    direction, found = None, []
    for x, y, mask, share in ((images, labels.where(keep, -100), keep, 0.25), (images[6:8], labels[6:8], None, 1.0)):
        model = network(dtype=torch.float64)
        optimizer = NaturalGradient(model, 0.1, clip=1.0, clip_share=share, reduction=reduction)
        logits = model(x)
        optimizer.backward(functional.cross_entropy(logits, y, reduction=reduction), logits, mask)
        moving = list(model.parameters())
        direction = direction or [torch.randn_like(parameter) for parameter in moving]
        found.append(optimizer._clip.quadratic(moving, direction, *optimizer._last))
    assert_close(found[0], found[1] * (4 if reduction == "sum" else 1), rtol=1e-10, atol=0)


class ClassLast(nn.Sequential):
    """Outputs ``[N, T, C]``, which a user hands to the loss as ``[N, C, T]``."""


def test_clipping_refuses_outputs_that_are_not_the_networks():
    model = ClassLast(nn.Linear(3, 4))
    optimizer = KFCPre(model, 0.1)
    outputs = model(torch.ones(5, 2, 3)).movedim(-1, 1)
    optimizer.backward(functional.cross_entropy(outputs, torch.zeros(5, 2, dtype=torch.int64)), outputs)
    with pytest.raises(RuntimeError, match=r"returned shape \[2, 2, 4\] where backward\(\) was given .* \[5, 4, 2\]"):
        optimizer.step()


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads, self.out = nn.Linear(8, 24), nn.Linear(8, 10)

    def forward(self, x):
        x = x.squeeze(1)
        query, key, value = self.heads(x).chunk(3, dim=-1)
        return self.out(functional.scaled_dot_product_attention(query, key, value).mean(1))


def test_clipping_goes_through_attention():
    model = Attention()
    optimizer = KFCPre(model, 0.1, damping=0.1)
    before = parameters(model)
    train(model, optimizer, range(2))
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_clipping_of_a_small_batch_under_batch_normalisation(size):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.Linear(6, 10))
    optimizer = KFCPre(model, 0.1, damping=0.1)
    images, labels = batch(0, size=size)
    logits = model(images)
    optimizer.backward(functional.cross_entropy(logits, labels), logits)
    optimizer.step()
    assert optimizer.skipped == 0


@pytest.mark.parametrize("approximation", ["kfc", "identity"])
def test_clipping_leaves_the_users_gradient(approximation):
    model = network()
    optimizer = KFCPre(model, 0.1, approximation=approximation, clip=1e-9)
    images, labels = batch(0)
    logits = model(images)
    optimizer.backward(functional.cross_entropy(logits, labels), logits)
    wanted = [parameter.grad.clone() for parameter in model.parameters()]
    optimizer.step()
    assert equal([parameter.grad for parameter in model.parameters()], wanted)


def test_clipping_leaves_batch_statistics_alone():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 10))
    optimizer = KFCPre(model, 0.1, damping=0.1)
    images, labels = batch(0)
    logits = model(images)
    before = [buffer.clone() for buffer in model.buffers()]
    optimizer.backward(functional.cross_entropy(logits, labels), logits)
    optimizer.step()
    assert equal(before, list(model.buffers()))
    assert int(model[1].num_batches_tracked) == 1


def test_clipping_needs_backward():
    model = network()
    optimizer = KFCPre(model, 0.1, statistics_every=5)
    train(model, optimizer, [0])
    images, labels = batch(1)
    functional.cross_entropy(model(images), labels).backward()
    with pytest.raises(RuntimeError, match=r"clipping needs the outputs: call optimizer\.backward"):
        optimizer.step()


@pytest.mark.parametrize("cut", [3, 4])
def test_saved_and_resumed_equals_uninterrupted(cut):
    """Parameters, momentum, factors, averages, generator: bit for bit."""

    def build(seed=0):
        model = network()
        return model, KFCPre(
            model, 0.02, averaging=3.0, clip=1e-3, damping=0.1, statistics_every=2, inverses_every=4, seed=seed
        )

    whole, optimizer = build()
    optimizer.initialize([batch(20), batch(21, size=5)])
    train(whole, optimizer, range(9))
    first, cut_off = build()
    cut_off.initialize([batch(20), batch(21, size=5)])
    train(first, cut_off, range(cut))
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": cut_off.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file)
    second, resumed = build(seed=5)
    second.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    train(second, resumed, range(cut, 9))
    assert equal(parameters(second), parameters(whole))
    assert equal(parameters(resumed.averaged), parameters(optimizer.averaged))
    assert_close(resumed.curvature.statistics, optimizer.curvature.statistics, rtol=0, atol=0)
    assert torch.equal(resumed._generator.get_state(), optimizer._generator.get_state())
    buffers = [
        [held.state[p]["momentum_buffer"] for p in m.parameters()]
        for m, held in ((second, resumed), (whole, optimizer))
    ]
    assert equal(*buffers)
    assert not equal(parameters(resumed.averaged), parameters(second))


def test_a_state_without_its_average_is_refused():
    model = network()
    with pytest.raises(ValueError, match="averaged iterate"):
        KFCPre(model, 0.1, averaging=3.0).load_state_dict(KFCPre(network(), 0.1).state_dict())


def test_initialize_is_the_mean_over_all_examples():
    model = network(dtype=torch.float64)
    optimizer = KFCPre(model, 0.1, fisher="type2")
    optimizer.initialize([batch(0, torch.float64, 16), batch(16, torch.float64, 1)[0]])
    whole = KFCPre(network(dtype=torch.float64), 0.1, fisher="type2")
    whole.initialize([batch(0, torch.float64, 17)])
    assert_close(optimizer.curvature.statistics, whole.curvature.statistics)
    assert len(optimizer.curvature.inverses) == 3


def test_after_initialize_statistics_come_at_the_period():
    model = network()
    optimizer = KFCPre(model, 0.01, statistics_every=2, inverses_every=3)
    optimizer.initialize([batch(20), batch(21)])
    history = []
    for step in range(5):
        train(model, optimizer, [step])
        history.append(optimizer.curvature.observations)
    assert history == [2, 3, 3, 4, 4]


def test_initialize_leaves_out_what_a_mask_does():
    images, labels = batch(0, torch.float64)
    keep = torch.arange(16) % 3 > 0
    masked, chosen = (KFCPre(network(dtype=torch.float64), 0.1, fisher="type2") for _ in range(2))
    masked.initialize([(images, labels, keep)])
    chosen.initialize([(images[keep], labels[keep])])
    assert_close(masked.curvature.statistics, chosen.curvature.statistics)


def test_initialize_that_fails_can_be_followed_by_training():
    model = network()
    optimizer = KFCPre(model, 0.01, damping=0.1, statistics_every=1, inverses_every=1)
    train(model, optimizer, range(3))
    poisoned = batch(4)[0].clone()
    poisoned[0] = float("nan")
    with pytest.raises(ValueError, match="batch 1 of the loader is not finite"):
        optimizer.initialize([batch(3), poisoned])
    train(model, optimizer, range(3, 5))
    assert optimizer._refreshed == (optimizer.curvature.observations, 3)


def test_without_gradients_the_average_stays():
    model = network()
    optimizer = KFCPre(model, 0.1, averaging=3.0)
    before = int(optimizer.averaged.n_averaged)
    train(model, optimizer, [0])
    optimizer.zero_grad()
    optimizer._gathered = True
    optimizer.step()
    assert int(optimizer.averaged.n_averaged) == before + 1


def test_initialize_refuses_an_empty_loader():
    with pytest.raises(ValueError, match="the loader is empty"):
        KFCPre(network(), 0.1).initialize([])


def test_initialize_with_the_empirical_fisher_needs_a_loss():
    optimizer = KFCPre(network(), 0.1, fisher="empirical")
    with pytest.raises(ValueError, match="give initialize\\(\\) a loss_function"):
        optimizer.initialize([batch(0)])
    optimizer.initialize([batch(0)], loss_function=functional.cross_entropy)
    assert optimizer.curvature.observations == 1


@pytest.mark.parametrize(
    "options", [{"clip": 0.0}, {"clip": -1.0}, {"clip_share": 0.0}, {"clip_share": 1.5}, {"averaging": 0}], ids=str
)
def test_bad_arguments(options):
    ((name, _),) = options.items()
    with pytest.raises(ValueError, match=f"{name} must"):
        KFCPre(network(), 0.1, **options)
