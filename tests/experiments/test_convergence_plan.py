import dataclasses
import json
import tomllib

import pytest

from kfc_bench.errors import UserError
from kfc_bench.experiments.convergence.optimizers import OPTIMIZERS
from kfc_bench.experiments.convergence.plan import score
from kfc_bench.experiments.convergence.section import parse
from kfc_bench.experiments.convergence.tuning import WORST
from kfc_bench.experiments.table import Table
from kfc_bench.problems.datasets import PROBLEMS
from kfc_bench.resources import share
from tests.experiments.cost_cases import journalled

SECTION = """
problem = "digits"
network = "digits_small"
batch = 64
epochs = 1.5
tuning_epochs = 0.5
evaluations = 2
target = { metric = "error", value = 0.1 }
tuning_seed = 0
extra_trials = 2
seeds = [1, 2]
[[optimizer]]
name = "sgd"
lr = [0.01, 0.1, 1.0]
[[optimizer]]
name = "kfc"
lr = [0.01]
damping = [0.01, 0.1, 1.0]
"""


def plan(text=SECTION):
    return parse(Table(tomllib.loads(text), "suite.toml"), "cpu")


def result(steps, loss=1.0, status="ok", batch=64):
    curve = [{"validation_loss": 9.0}, {"validation_loss": loss}]
    return {"status": status, "steps_to_target": steps, "batch": batch, "curve": curve}


def best_at(case):
    """Prefer a large learning rate for SGD, and a damping of 0.1 for KFC."""
    values = case.hyperparameters
    steps = 100 / values.lr if case.optimizer == "sgd" else 100 * max(values.damping / 0.1, 0.1 / values.damping)
    return result(steps)


def run(entry, outcome=best_at):
    """Answer trials in rounds until none is left; return the cases of each round that were new in it."""
    records, rounds = {}, []
    while True:
        new = [case for case in entry.due(records) if case.case_id not in records]
        if not new:
            return rounds, list(entry.due(records))
        rounds.append(new)
        records |= {case.case_id: outcome(case) for case in new}


def test_the_grids_come_first_then_extra_trials_one_by_one_then_reports():
    rounds, _ = run(plan())
    assert [len(new) for new in rounds] == [6, 2, 2, 4]
    assert [{case.role for case in new} for new in rounds] == [{"tuning"}] * 3 + [{"report"}]
    assert [case.optimizer for case in rounds[1]] == ["sgd", "kfc"]


def test_extra_trials_follow_what_the_others_showed():
    rounds, _ = run(plan())
    assert [case.hyperparameters.lr for new in rounds[1:3] for case in new if case.optimizer == "sgd"] == [10.0, 100.0]
    damping = [case.hyperparameters.damping for new in rounds[1:3] for case in new if case.optimizer == "kfc"]
    assert damping == pytest.approx([0.0316228, 0.316228])


def test_every_optimizer_gets_as_many_trials_and_the_total_is_known():
    entry = plan()
    _, cases = run(entry)
    counts = {
        (role, name): sum(case.role == role and case.optimizer == name for case in cases)
        for role in ("tuning", "report")
        for name in ("sgd", "kfc")
    }
    assert counts == {("tuning", "sgd"): 5, ("tuning", "kfc"): 5, ("report", "sgd"): 2, ("report", "kfc"): 2}
    assert len(cases) == len({case.case_id for case in cases}) == entry.total == 14
    assert [case.trial for case in cases if case.role == "tuning" and case.optimizer == "sgd"] == list(range(5))


def test_no_report_before_every_optimizer_is_tuned():
    entry = plan()
    _, cases = run(entry)
    records = {case.case_id: best_at(case) for case in cases if case.role == "tuning"}
    last = [case for case in cases if case.role == "tuning"][-1]
    del records[last.case_id]
    due = entry.due(records)
    assert {case.role for case in due} == {"tuning"}
    assert last.case_id in {case.case_id for case in due}


def test_reports_take_seeds_in_turn_and_the_winners():
    rounds, _ = run(plan())
    reports = rounds[-1]
    assert [(case.seed, case.optimizer) for case in reports] == [(1, "sgd"), (1, "kfc"), (2, "sgd"), (2, "kfc")]
    assert {case.hyperparameters.lr for case in reports if case.optimizer == "sgd"} == {100.0}
    assert {case.hyperparameters.damping for case in reports if case.optimizer == "kfc"} == {0.1}
    assert all(case.seed != 0 for case in reports)


def test_a_winner_on_the_edge_is_flagged():
    rounds, _ = run(plan())
    assert {case.optimizer: case.on_edge for case in rounds[-1]} == {"sgd": True, "kfc": False}
    assert {journalled(case, {"status": "ok"})["on_edge"] for case in rounds[0]} == {None}


def test_a_due_case_does_not_change_as_records_come_in():
    entry = plan()
    _, cases = run(entry)
    assert [case.case_id for case in entry.due({})] == [
        case.case_id for case in entry.due({cases[0].case_id: best_at(cases[0])})
    ]


@pytest.mark.parametrize("status", ["diverged", "crashed", "oom", "timeout"])
def test_a_failed_trial_scores_worst_and_tuning_goes_on(status):
    rounds, cases = run(
        plan(), lambda case: result(None, status=status) if case.hyperparameters.lr >= 1 else best_at(case)
    )
    assert score(result(None, status=status)) == WORST
    assert {case.hyperparameters.lr for case in rounds[-1] if case.optimizer == "sgd"} < {0.1, 0.316228}
    assert len(cases) == plan().total


def test_tuning_goes_on_where_everything_diverges():
    rounds, cases = run(plan(), lambda _: result(None, status="diverged"))
    assert len(cases) == plan().total
    assert {case.role for case in rounds[-1]} == {"report"}


def test_score_counts_examples_then_the_last_loss():
    ordered = [
        result(6),
        result(1, batch=512),
        result(12, 0.1),
        result(12, 0.2),
        result(None, 0.1),
        result(None, 0.3),
        result(0, status="diverged"),
    ]
    assert sorted(ordered, key=score) == ordered


SETTLED = (
    SECTION.replace("lr = [0.01, 0.1, 1.0]", "lr = 0.1")
    .replace("damping = [0.01, 0.1, 1.0]", "damping = 0.1")
    .replace("extra_trials = 2\n", "")
)


@pytest.mark.parametrize("seed", ["tuning_seed = 0\n", ""], ids=["a seed too many", "no seed"])
def test_settled_optimizers_are_not_tuned(seed):
    entry = plan(SETTLED.replace("tuning_seed = 0\n", seed))
    rounds, cases = run(entry)
    assert len(rounds) == 1
    assert len(cases) == entry.total == 4
    assert {(case.role, case.on_edge) for case in cases} == {("report", None)}
    assert {journalled(case, {"status": "ok"})["on_edge"] for case in cases} == {None}


def test_one_optimizer_to_tune_is_enough_for_a_tuning_seed():
    text = SETTLED.replace("lr = 0.1", "lr = [0.1, 0.2]").replace("damping = 0.1", "damping = [0.1, 0.2]")
    assert plan(text).total == 4 + 4
    with pytest.raises(UserError, match="key 'tuning_seed' is missing"):
        plan(text.replace("tuning_seed = 0\n", ""))


def test_batch_and_schedule_are_tried_as_declared():
    """Seven points each: extra trials move along lr, whatever batch and schedule win, and no edge is theirs."""
    text = SECTION.replace(
        "lr = [0.01, 0.1, 1.0]", 'lr = [0.1, 0.2, 0.4]\nbatch = [32, 128]\nschedule = ["linear", "cosine"]'
    )
    text = text.replace("lr = [0.01]", 'lr = 0.01\nbatch = [64, 256]\nschedule = ["constant", "cosine"]')

    def outcome(case):
        values = case.hyperparameters
        distance = abs(values.lr - 0.2) if case.optimizer == "sgd" else abs(values.damping - 0.1)
        return result(100 + round(1000 * distance) + (values.schedule != "cosine"), batch=values.batch)

    entry = plan(text)
    rounds, cases = run(entry, outcome)
    assert len(cases) == entry.total == 2 * (12 + 2 + 2)
    extra = [case.hyperparameters for new in rounds[1:3] for case in new if case.optimizer == "sgd"]
    assert {(values.batch, values.schedule) for values in extra} == {(32, "cosine")}
    assert {values.lr for values in extra} == {0.141421, 0.282843}
    winners = {case.optimizer: (case.hyperparameters, case.on_edge) for case in rounds[-1]}
    assert [(values.batch, values.schedule, edge) for values, edge in winners.values()] == [
        (32, "cosine", False),
        (64, "cosine", False),
    ]


def test_steps_follow_from_epochs_role_and_batch():
    text = SECTION.replace("lr = [0.01, 0.1, 1.0]", "lr = [0.01, 0.1, 1.0]\nbatch = 100")
    _, cases = run(plan(text))
    found = {(case.optimizer, case.role): case.steps for case in cases}
    assert found == {("sgd", "tuning"): 6, ("kfc", "tuning"): 9, ("sgd", "report"): 16, ("kfc", "report"): 27}
    short = plan(SECTION.replace("tuning_epochs = 0.5", "tuning_epochs = 0.001"))
    assert {case.steps for case in short.due({})} == {1}


def test_tuning_is_as_long_as_the_report_unless_it_is_said():
    assert {case.steps for case in plan(SECTION.replace("tuning_epochs = 0.5\n", "")).due({})} == {27}


def test_defaults_by_optimizer():
    """KFC-pre clips at 0.3 and initialises; what an optimizer has not is no key of it."""
    tables = "".join(
        f'[[optimizer]]\nname = "{name}"\nlr = 0.1\n' + ("damping = 0.1\n" if kind.natural else "")
        for name, kind in OPTIMIZERS.items()
    )
    entry = plan(SETTLED[: SETTLED.index("[[optimizer]]")] + tables)
    cases = {case.optimizer: case for case in entry.due({})}
    assert set(cases) == set(OPTIMIZERS)
    assert {name: (case.clip, case.initialize) for name, case in cases.items() if case.clip or case.initialize} == {
        "kfc_pre": (0.3, True)
    }
    momenta = {name: case.hyperparameters.momentum for name, case in cases.items()}
    assert {name: mu for name, mu in momenta.items() if mu != 0.9} == {"muon": 0.95, "adagrad": 0.0, "rmsprop": 0.0}


def test_clipping_initialisation_and_averaging_are_read():
    text = SECTION.replace("lr = [0.01]", "lr = [0.01]\nclip = 0.1\ninitialize = true").replace(
        "evaluations = 2", 'evaluations = 2\naveraging = 0.5\ninitial_examples = 100\nlayout = "channels_last"'
    )
    cases = plan(text).due({})
    assert {(case.optimizer, case.clip, case.initialize) for case in cases} == {
        ("sgd", None, False),
        ("kfc", 0.1, True),
    }
    settings = {case.setting for case in cases}
    assert {(one.averaging, one.initial_examples, one.layout) for one in settings} == {(0.5, 100, "channels_last")}


def test_without_seeds_a_section_searches_and_reports_nothing():
    entry = plan(SECTION.replace("seeds = [1, 2]\n", ""))
    assert {case.role for case in entry.due({})} == {"tuning"}
    assert entry.total == len(entry.contestants) * entry.trials
    with pytest.raises(UserError, match="nothing is tuned and no seeds report"):
        plan(SETTLED.replace("seeds = [1, 2]\n", ""))


def test_data_that_is_not_there_is_told_before_anything_runs(monkeypatch):
    def absent():
        raise UserError("digits: no data in nowhere")

    monkeypatch.setitem(PROBLEMS, "digits", dataclasses.replace(PROBLEMS["digits"], check=absent))
    with pytest.raises(UserError, match="no data in nowhere"):
        plan()


@pytest.mark.parametrize(
    "change", [("lr = [0.01]", "lr = 0.01"), ("lr = [0.01]", "lr = [0.01]\nmomentum = 0.9\nbatch = 64")]
)
def test_ways_to_say_the_same(change):
    assert [case.case_id for case in plan(SECTION.replace(*change)).due({})] == [
        case.case_id for case in plan().due({})
    ]


def test_the_quickstart_suite():
    with (share("suites") / "quickstart.toml").open("rb") as file:
        section = next(entry for entry in tomllib.load(file)["section"] if entry["kind"] == "convergence")
    entry = parse(
        Table({key: value for key, value in section.items() if key not in ("name", "kind")}, "quickstart"), "cpu"
    )
    assert {contestant.name for contestant in entry.contestants} >= {
        "sgd",
        "kfc",
        "diagonal",
        "block_diagonal",
        "exact",
    }
    assert len(entry.seeds) == 3


MISTAKES = {
    "tuning-seed-reports": (("seeds = [1, 2]", "seeds = [0, 1]"), "seed 0 tunes, so it may not report"),
    "seed": (("seeds = [1, 2]", "seeds = [1, -1]"), "seeds: seed -1 must be at least 0"),
    "large-seed": (("tuning_seed = 0", f"tuning_seed = {2**63}"), rf"tuning_seed: seed {2**63} .* below 2\^63"),
    "unequal-grids": (("lr = [0.01]", "lr = [0.01, 0.1]"), "grids have sgd 3, kfc 6 points"),
    "twice": (('name = "kfc"', 'name = "sgd"'), "unknown key 'damping'"),
    "optimizer": (('name = "kfc"', 'name = "kfcc"'), "did you mean 'kfc'"),
    "identity": (('name = "kfc"', 'name = "identity"'), "name 'identity' is not one of sgd"),
    "no-damping": (("damping = [0.01, 0.1, 1.0]", ""), "key 'damping' is missing"),
    "momentum": (("lr = [0.01]", "lr = [0.01]\nmomentum = 1.0"), r"must lie in \[0, 1\)"),
    "weight-decay": (("lr = [0.01]", "lr = [0.01]\nweight_decay = [0.0, 0.1]"), "weight_decay is one number"),
    "lr": (("lr = [0.01]", "lr = [0.0]"), "lr = 0.0 must be positive"),
    "metric": (('metric = "error"', 'metric = "accuracy"'), "metric 'accuracy' is not one of error, loss"),
    "target": (("value = 0.1 }", "value = 0.1, by = 3 }"), "target: unknown key 'by'"),
    "network": (('network = "digits_small"', 'network = "cifar10"'), "does not take the images"),
    "extra": (("extra_trials = 2", "extra_trials = -1"), "extra_trials = -1 must not be negative"),
    "batch": (("batch = 64", "batch = 1198"), "batch = 1198 must be at most the 1197 training images of 'digits'"),
    "batches": (("lr = [0.01]", "lr = [0.01]\nbatch = [64, 1198]"), r"2: batch = 1198 must be at most the 1197"),
    "no-batch": (("lr = [0.01]", "lr = [0.01]\nbatch = 0"), "batch = 0 must be at least 1"),
    "epochs": (("epochs = 1.5", "epochs = 0.0"), "epochs = 0.0 must be positive"),
    "tuning-epochs": (("tuning_epochs = 0.5", "tuning_epochs = -1"), "tuning_epochs = -1.0 must be positive"),
    "evaluations": (("evaluations = 2", "evaluations = 0"), "evaluations = 0 must be at least 1"),
    "steps": (("epochs = 1.5", "epochs = 1.5\nsteps = 20"), "unknown key 'steps'"),
    "averaging": (("batch = 64", "batch = 64\naveraging = 0.0"), "averaging = 0.0 must be positive"),
    "initial": (("batch = 64", "batch = 64\ninitial_examples = 0"), "initial_examples = 0 must be at least 1"),
    "layout": (("batch = 64", 'batch = 64\nlayout = "nchw"'), "layout 'nchw' is not one of contiguous, channels_last"),
    "schedule": (("lr = [0.01]", 'lr = [0.01]\nschedule = "step"'), "schedule 'step' is not one of constant, linear"),
    "clip": (("lr = [0.01]", "lr = [0.01]\nclip = 0.0"), "clip = 0.0 must be positive"),
    "sgd-clips": (("lr = [0.01, 0.1, 1.0]", "lr = [0.01, 0.1, 1.0]\nclip = 0.3"), "1: unknown key 'clip'"),
    "initialize": (("lr = [0.01]", "lr = [0.01]\ninitialize = 1"), "initialize = 1 must be of type bool"),
    "adagrad": (('name = "sgd"', 'name = "adagrad"\nmomentum = 0.9'), "unknown key 'momentum'"),
    "problem": (('problem = "digits"', 'problem = "digit"'), "did you mean 'digits'"),
    "nothing-refined": (
        ("lr = [0.01]\ndamping = [0.01, 0.1, 1.0]", "lr = 0.01\ndamping = 0.1\nbatch = [16, 32, 64]"),
        "extra_trials = 2 has nothing to refine of kfc",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case):
    change, message = MISTAKES[case]
    with pytest.raises(UserError, match=message):
        plan(SECTION.replace(*change))


def test_an_optimizer_listed_twice():
    text = SECTION + SECTION[SECTION.index('[[optimizer]]\nname = "kfc"') :]
    with pytest.raises(UserError, match="an optimizer is listed twice: sgd, kfc, kfc"):
        plan(text)


def test_columns_fit_the_schema():
    for case in run(plan())[1]:
        columns = journalled(case, {"status": "ok"})
        assert json.loads(json.dumps(columns)) == columns
        assert columns["damping"] is None or case.optimizer == "kfc"
