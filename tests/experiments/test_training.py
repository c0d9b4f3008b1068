"""What a trial does step by step: averaging, schedules, Muon's views, checkpoints, failures."""

import io
import math
from itertools import islice

import pytest
import torch
from torch import nn
from torch.nn import functional

from kfc_bench.experiments.batches import batches
from kfc_bench.experiments.convergence import evaluation, training
from kfc_bench.experiments.convergence.evaluation import evaluated_steps
from kfc_bench.experiments.convergence.muon import WeightMuon, hidden_weights
from kfc_bench.experiments.convergence.optimizers import OPTIMIZERS
from kfc_bench.experiments.convergence.plan import score
from kfc_bench.experiments.convergence.stepping import SCHEDULES, Stepper
from kfc_bench.experiments.convergence.training import Trial, open_trial
from kfc_bench.experiments.convergence.tuning import WORST
from kfc_bench.experiments.trained import fresh_network, problem_data
from kfc_bench.optim import KFCPre
from kfc_bench.problems.images import Split
from kfc_bench.problems.networks import NETWORKS, Network
from tests.experiments.cost_cases import journalled
from tests.experiments.test_trial import trained, trial_case, untimed

RESUMED = ["sgd", "adamw", "muon", "kfc_pre"]


def saved(trial):
    """Send a trial's state through a file that holds plain values only."""
    file = io.BytesIO()
    torch.save(trial.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("optimizer", RESUMED)
def test_a_resumed_trial_equals_an_uninterrupted_one(monkeypatch, optimizer):
    case = trial_case(optimizer, lr=0.02, schedule="cosine", averaging=0.5, evaluations=3, steps=45)
    whole = trained(case)
    monkeypatch.setattr(training, "CHECKPOINT_S", 0.0)
    trial, visits = Trial(case), 1
    while trial.visit():
        visits += 1
        if visits in (12, 31):
            state = saved(trial)
            trial = open_trial(case)
            trial.load_state_dict(state)
    assert visits == 45
    assert whole["status"] == "ok"
    assert untimed(journalled(case, trial.record())) == untimed(whole)


def test_a_resumed_trial_goes_on_from_its_seconds(monkeypatch):
    case = trial_case()
    monkeypatch.setattr(training, "CHECKPOINT_S", 0.0)
    first, second = Trial(case), Trial(case)
    first.visit()
    second.load_state_dict(saved(first))
    assert second.seconds == first.seconds > 0
    second.visit()
    assert second.seconds > first.seconds


@pytest.mark.parametrize("start", [0, 3, 18, 40])
def test_batches_go_on_where_they_were_left(start):
    split = problem_data("digits", "cpu").train
    whole, later = batches(split, 64, 5), batches(split, 64, 5, start=start)
    for _ in range(start):
        next(whole)
    for _ in range(20):
        assert all(torch.equal(*pair) for pair in zip(next(whole), next(later), strict=True))


def test_averaging_is_algorithm_1s(monkeypatch):
    """theta_bar <- xi theta_bar + (1 - xi) theta, from theta_0, against the sum in float64."""
    seen = []
    step = Stepper.step

    def spied(self, images, labels):
        loss = step(self, images, labels)
        seen.append(flat(self._model))
        return loss

    monkeypatch.setattr(Stepper, "step", spied)
    case = trial_case(averaging=0.25, steps=10)
    trial = Trial(case)
    expected, xi = flat(fresh_network("digits_small", case.seed, "cpu")), math.exp(-1 / (0.25 * 18))
    trial.visit()
    for theta in seen:
        expected = xi * expected + (1 - xi) * theta
    torch.testing.assert_close(flat(trial._averaged.module), expected, rtol=1e-5, atol=1e-7)
    loss, error = evaluation.evaluate(trial._averaged, problem_data("digits", "cpu").test)
    assert (trial.curve[-1]["test_loss"], trial.curve[-1]["test_error"]) == (loss, error)


def flat(model):
    return torch.cat([parameter.detach().double().flatten() for parameter in model.parameters()])


def test_the_averaged_network_has_the_networks_running_statistics(monkeypatch):
    monkeypatch.setitem(NETWORKS, "bn", Network(_normalised, (1, 8, 8), 10))
    trial = Trial(trial_case(network="bn", averaging=1.0, steps=4))
    trial.visit()
    assert trial._model.training
    buffers = dict(trial._model.named_buffers())
    assert buffers["1.num_batches_tracked"] == 4
    assert all(torch.equal(value, buffers[name]) for name, value in trial._averaged.module.named_buffers())


def _normalised():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [1, (2 + math.sqrt(2)) / 4, 0.5, (2 - math.sqrt(2)) / 4]),
    ],
)
@pytest.mark.parametrize("optimizer", ["adamw", "muon", "kfc_pre"])
def test_schedules_move_every_rate_that_a_step_is_taken_with(optimizer, schedule, factors):
    case = trial_case(optimizer, network="digits", lr=0.1, schedule=schedule, steps=4)
    stepper, rates = Stepper(case, fresh_network("digits", 1, "cpu")), []
    stream = batches(problem_data("digits", "cpu").train, 64, 1)
    for _ in range(4):
        rates.append([group["lr"] for part in stepper.optimizers for group in part.param_groups])
        stepper.step(*next(stream))
    assert rates == [pytest.approx([0.1 * factor] * len(rates[0])) for factor in factors]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_schedules_end_at_zero(schedule):
    assert SCHEDULES[schedule](1.0) == pytest.approx(0, abs=1e-15)


def test_muon_orthogonalises_the_hidden_weights_gradient_and_adamw_has_the_rest():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 10))
    case = trial_case("muon", lr=0.01)
    muon, adamw = OPTIMIZERS["muon"].build(model, case)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    assert [id(weight) for weight in hidden_weights(model)] == [id(model[1].weight)]
    functional.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.arange(8)).backward()
    gradient = model[1].weight.grad.double().flatten(1)
    muon.step()
    moved = [not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True)]
    assert moved == [False, False, True, False, False, False]
    adamw.step()
    moved = [not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True)]
    assert moved == [True] * 6
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    step = (before[2] - model[1].weight).detach().double().flatten(1) / (0.01 * 0.2 * math.sqrt(27))
    # Muon's five iterations bring each singular value somewhere between 0.7 and 1.2, by design not to 1.
    turned = u.T @ step @ v.T
    assert ((turned.diagonal() > 0.6) & (turned.diagonal() < 1.3)).all()
    assert (turned - turned.diagonal().diag()).abs().max() < 0.1
    muon.zero_grad()
    assert model[1].weight.grad is None


def test_muon_is_adamw_where_no_layer_is_hidden():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    (adamw,) = OPTIMIZERS["muon"].build(model, trial_case("muon"))
    assert type(adamw) is torch.optim.AdamW


def test_a_view_is_of_the_same_storage():
    weight = nn.Parameter(torch.randn(4, 3, 2, 2))
    muon = WeightMuon([weight], 0.1, momentum=0.9, weight_decay=0.0)
    (view,) = muon.param_groups[0]["params"]
    assert (view.shape, view.data_ptr()) == ((4, 12), weight.data_ptr())


@pytest.mark.parametrize("optimizer", ["sgd", "muon", "kfc_pre"])
def test_the_layout_in_memory_changes_no_step(optimizer):
    stream = list(islice(batches(problem_data("digits", "cpu").train, 64, 1), 3))
    weights = []
    for form in (torch.contiguous_format, torch.channels_last):
        model = fresh_network("digits", 1, "cpu").double().to(memory_format=form)
        stepper = Stepper(trial_case(optimizer, network="digits", lr=0.01), model)
        for images, labels in stream:
            stepper.step(images.double(), labels)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    # Muon's iterations run in bfloat16, whatever the weights are.
    torch.testing.assert_close(*weights, **({"rtol": 0, "atol": 2e-3} if optimizer == "muon" else {}))


def test_first_statistics_may_be_of_the_first_images_alone():
    data, found = problem_data("digits", "cpu").train, []
    for case, split in (
        (trial_case("kfc_pre", initial_examples=100), data),
        (trial_case("kfc_pre"), Split(data.images[:100], data.labels[:100])),
    ):
        stepper = Stepper(case, fresh_network("digits_small", 1, "cpu"))
        stepper.initialize(split)
        found.append(stepper.optimizers[0].curvature.parts[0][0].statistics[0][0])
    assert torch.equal(*found)


def test_kfc_pre_starts_from_the_statistics_of_all_training_images():
    case = trial_case("kfc_pre", batch=200, network="digits_small")
    data, model = problem_data("digits", "cpu").train, fresh_network("digits_small", 1, "cpu")
    stepper = Stepper(case, model)
    stepper.initialize(data)
    (optimizer,) = stepper.optimizers
    assert type(optimizer) is KFCPre
    images = data.images.double()
    patches = functional.unfold(images, 3, padding=1).transpose(1, 2)
    patches = torch.cat([patches, torch.ones(*patches.shape[:2], 1)], 2)
    expected = torch.einsum("ntd,nte->de", patches, patches) / len(images)
    part, _ = optimizer.curvature.parts[0]
    torch.testing.assert_close(part.statistics[0][0].double().squeeze(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("initialize", [False, True])
def test_any_natural_gradient_initialises_where_it_is_asked_to(initialize):
    stepper = Stepper(trial_case("ekfac", initialize=initialize), fresh_network("digits_small", 1, "cpu"))
    stepper.initialize(problem_data("digits", "cpu").train)
    assert bool(stepper.optimizers[0].curvature.observations) is initialize


def test_a_skipped_step_is_a_divergence():
    """A loss that is finite and a gradient that is none: natural gradient skips, and the trial is over."""
    case = trial_case("kfc")
    trial = Trial(case)
    handle = trial._model.fc.weight.register_hook(lambda gradient: gradient * math.inf)
    assert trial.visit() is False
    handle.remove()
    assert (trial.status, trial.reason) == ("diverged", "step 1: a gradient, a statistic or a step is not finite")
    assert score({"batch": 64, **trial.record()}) == WORST


def test_a_decomposition_that_does_not_exist_is_a_divergence(monkeypatch):
    trial = Trial(trial_case("kfc"))
    indefinite = torch.diag(torch.tensor([1.0, -1.0]))
    monkeypatch.setattr(Stepper, "step", lambda *_: torch.linalg.cholesky(indefinite))
    assert trial.visit() is False
    assert trial.status == "diverged"
    assert trial.reason.startswith("step 1: linalg.cholesky")


@pytest.mark.parametrize(("per_epoch", "evaluations", "steps"), [(18, 3, 40), (7, 3, 15), (2, 5, 3), (18, 1, 5)])
def test_evaluations_are_spread_evenly(per_epoch, evaluations, steps):
    found = evaluated_steps(trial_case(evaluations=evaluations, steps=steps), per_epoch)
    exact = [index * per_epoch / evaluations for index in range(steps * evaluations)]
    assert {0, steps} <= found <= set(range(steps + 1))
    assert all(any(abs(step - time) <= 0.5 for time in exact) for step in found - {steps})
    assert all(any(abs(step - time) <= 0.5 for step in found) for time in exact if time <= steps - 0.5)


def test_an_evaluation_looks_at_the_first_training_images_in_evaluation_mode(monkeypatch):
    monkeypatch.setattr(evaluation, "TRAIN_EVALUATED", 100)
    case, data = trial_case(), problem_data("digits", "cpu")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.5))
    point = evaluation.observe(case, model, data, 0, 0.0)
    with torch.no_grad():
        logits = model.eval()(data.train.images[:100]).double()
    labels = data.train.labels[:100]
    assert point["train_loss"] == pytest.approx(float(functional.cross_entropy(logits, labels)))
    assert point["train_error"] == pytest.approx(float((logits.argmax(1) != labels).double().mean()))
