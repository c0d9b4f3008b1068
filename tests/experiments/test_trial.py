import dataclasses
import json
import math

import pytest
import torch

from kfc_bench.experiments.convergence import CONVERGENCE, evaluation, training
from kfc_bench.experiments.convergence.optimizers import OPTIMIZERS
from kfc_bench.experiments.convergence.training import open_trial
from kfc_bench.experiments.convergence.trial import Hyperparameters, Setting, Target, TrialCase
from tests.experiments.cost_cases import journalled

SETTING = Setting(
    problem="digits",
    network="digits_small",
    epochs=20 / 18,
    tuning_epochs=20 / 18,
    evaluations=2,
    target=Target("error", 0.8),
    fisher="mc",
    statistics_every=5,
    inverses_every=10,
    averaging=None,
    initial_examples=None,
    layout="contiguous",
    device="cpu",
)
STEPS_PER_EPOCH = 1197 // 64
CURVE_TIMES = {"seconds"}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


def trial_case(
    optimizer="sgd",
    *,
    role="report",
    lr=0.05,
    seed=1,
    steps=20,
    batch=64,
    schedule="constant",
    initialize=None,
    **setting,
):
    kind = OPTIMIZERS[optimizer]
    values = Hyperparameters(lr, kind.momentum or 0.0, 0.1 if kind.natural else None, 0.0, batch, schedule)
    return TrialCase(
        setting=dataclasses.replace(SETTING, **setting),
        optimizer=optimizer,
        hyperparameters=values,
        clip=kind.clip,
        initialize=kind.initialize if initialize is None else initialize,
        steps=steps,
        role=role,
        trial=0,
        seed=seed,
        on_edge=False,
        timeout_s=60.0,
    )


def trained(case):
    trial = open_trial(case)
    assert trial.visit() is False
    return journalled(case, trial.record())


def untimed(record):
    return [{key: value for key, value in point.items() if key not in CURVE_TIMES} for point in record["curve"]]


@every_optimizer
def test_a_seed_gives_the_same_curve_bit_for_bit(optimizer):
    lr = {"rmsprop": 0.005}.get(optimizer, 0.05)
    first, second = trained(trial_case(optimizer, lr=lr)), trained(trial_case(optimizer, lr=lr))
    assert first["status"] == "ok", first["reason"]
    assert untimed(first) == untimed(second)
    assert [point["step"] for point in first["curve"]] == [0, 9, 18, 20]
    assert first["curve"][-1]["train_loss"] < first["curve"][0]["train_loss"]
    assert json.loads(json.dumps(first)) == first


def test_another_seed_gives_another_curve():
    assert untimed(trained(trial_case(seed=1))) != untimed(trained(trial_case(seed=2)))


def test_every_optimizer_starts_from_the_same_network():
    starts = [untimed(trained(trial_case(optimizer, steps=1)))[0] for optimizer in ("sgd", "kfc", "diagonal")]
    assert starts[0] == starts[1] == starts[2]


def test_a_trial_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    trained(trial_case("kfc"))
    assert torch.equal(torch.get_rng_state(), state)


def test_opening_a_trial_does_not_change_it(monkeypatch):
    warm = trained(trial_case("kfc"))
    monkeypatch.setattr(training, "WARM_UP_STEPS", 0)
    assert untimed(trained(trial_case("kfc"))) == untimed(warm)


class Clockwork:
    """A clock that moves by a second in each training step, and by a thousand in each evaluation."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(training.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(evaluation, "evaluate", self.slow(evaluation.evaluate, 1000.0))
        monkeypatch.setattr(training.Stepper, "step", self.slow(training.Stepper.step, 1.0))
        monkeypatch.setattr(training.Stepper, "initialize", self.slow(training.Stepper.initialize, 5.0))
        monkeypatch.setattr(
            training.AveragedModel, "update_parameters", self.slow(training.AveragedModel.update_parameters, 0.5)
        )

    def slow(self, function, seconds):
        def slowed(*arguments):
            self.now += seconds
            return function(*arguments)

        return slowed


def test_steps_and_initialisation_and_averaging_are_in_the_seconds_and_evaluation_is_not(monkeypatch):
    Clockwork(monkeypatch)
    monkeypatch.setattr(training, "CHECKPOINT_S", math.inf)
    record = trained(trial_case(averaging=1.0))
    assert [point["seconds"] for point in record["curve"]] == [0, 5 + 9 * 1.5, 5 + 18 * 1.5, 5 + 20 * 1.5]
    assert record["seconds"] == 35


@pytest.mark.parametrize(("role", "others"), [("tuning", "test"), ("report", "validation")])
def test_tuning_never_sees_the_test_images_nor_a_report_the_validation_images(monkeypatch, role, others):
    data, seen = training.problem_data("digits", "cpu"), []
    test = dataclasses.replace(data.test, images=data.test.images[:250], labels=data.test.labels[:250])
    monkeypatch.setattr(training, "problem_data", lambda *_: dataclasses.replace(data, test=test))
    evaluate = evaluation.evaluate

    def spy(model, split):
        seen.append(len(split.labels))
        return evaluate(model, split)

    monkeypatch.setattr(evaluation, "evaluate", spy)
    monkeypatch.setattr(evaluation, "TRAIN_EVALUATED", 1000)
    record = trained(trial_case(role=role))
    assert set(seen) == {1000, {"tuning": 300, "report": 250}[role]}
    assert all(point[f"{others}_loss"] is point[f"{others}_error"] is None for point in record["curve"])
    assert record[f"final_{others}_error"] is None


@pytest.mark.parametrize(("role", "split"), [("tuning", "validation"), ("report", "test")])
@pytest.mark.parametrize("metric", ["error", "loss"])
def test_the_target_is_the_first_evaluation_at_or_below_it(role, split, metric):
    values = {point["step"]: point[f"{split}_{metric}"] for point in trained(trial_case(role=role, lr=0.2))["curve"]}
    best = min(values, key=values.get)
    assert best > 0
    assert trained(trial_case(role=role, lr=0.2, target=Target(metric, values[best])))["steps_to_target"] == best


def test_a_target_out_of_reach():
    record = trained(trial_case(target=Target("loss", 1e-9)))
    assert record["status"] == "ok"
    assert record["steps_to_target"] is record["seconds_to_target"] is None
    assert record["final_test_error"] == record["curve"][-1]["test_error"]


@pytest.mark.parametrize("periods", [{}, {"statistics_every": 1, "inverses_every": 1}], ids=["rare", "every-step"])
@pytest.mark.parametrize("optimizer", ["sgd", "kfc", "diagonal"])
def test_a_huge_learning_rate_diverges_with_a_reason(optimizer, periods):
    record = trained(trial_case(optimizer, lr=1e30, **periods))
    assert record["status"] == "diverged"
    assert record["reason"]
    assert record["final_train_loss"] is record["final_test_error"] is None
    assert all(math.isfinite(point["train_loss"]) for point in record["curve"])
    assert json.loads(json.dumps(record, allow_nan=False)) == record


@pytest.mark.parametrize(
    ("losses", "status"),
    [
        ([2.3, 0.5, 2.29], "diverged"),
        ([2.3, 0.5, 1.9], "ok"),
        ([2.3, 2.2, 2.25], "ok"),
        ([2.3, 2.4, 2.3], "ok"),
        ([2.3, 9.0, 4.5], "ok"),
    ],
    ids=["lost what it learned", "lost some of it", "slow", "never learned", "on its way back"],
)
def test_a_network_that_collapses_has_diverged(monkeypatch, losses, status):
    values = iter(loss for loss in losses for _ in range(2))
    monkeypatch.setattr(evaluation, "evaluate", lambda *_: (next(values), 0.05))
    record = trained(trial_case(steps=2, evaluations=STEPS_PER_EPOCH))
    assert record["status"] == status
    if status == "diverged":
        assert record["steps_to_target"] is record["final_test_error"] is None
        assert "fell from 2.3 to 0.5, but ended at 2.29" in record["reason"]


@pytest.mark.parametrize(("optimizer", "lr"), [("adam", 10.0), ("muon", 30.0)])
def test_a_network_that_blows_up_without_leaving_the_numbers_has_diverged(optimizer, lr):
    record = trained(trial_case(optimizer, lr=lr, network="digits"))
    assert record["status"] == "diverged"
    assert record["reason"].startswith("the training loss rose from 2.3")


def test_a_validation_loss_that_overflows_has_diverged(monkeypatch):
    evaluate = evaluation.evaluate
    monkeypatch.setattr(
        evaluation,
        "evaluate",
        lambda model, split: (math.inf, 0.9) if len(split.labels) == 300 else evaluate(model, split),
    )
    record = trained(trial_case(role="tuning"))
    assert record["status"] == "diverged"
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_an_epoch_is_all_training_images():
    record = trained(trial_case(batch=1197, steps=2, evaluations=1))
    assert [point["epoch"] for point in record["curve"]] == [0, 1, 2]


def test_parameters_tell_trials_apart():
    case = trial_case()
    changed = [
        trial_case("kfc"),
        trial_case(lr=0.1),
        trial_case(seed=2),
        trial_case(role="tuning"),
        trial_case(steps=21),
        trial_case(batch=32),
        trial_case(schedule="cosine"),
        trial_case(averaging=1.0),
        trial_case("kfc", initialize=True),
        trial_case(target=Target("loss", 0.8)),
    ]
    assert len({entry.case_id for entry in [case, *changed]}) == 1 + len(changed)
    same = dataclasses.replace(case, trial=7, on_edge=True, timeout_s=1.0)
    assert same.case_id == case.case_id


@pytest.mark.parametrize(
    ("error", "status"), [(MemoryError(), "oom"), (RuntimeError("bad\nluck"), "crashed")], ids=repr
)
def test_classify(error, status):
    found, reason = CONVERGENCE.classify(error)
    assert found == status
    assert "\n" not in reason
