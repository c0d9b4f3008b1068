"""The fidelity experiment: its plan, and the record of a small network that was trained."""

import json
from dataclasses import replace

import pytest

from kfc_bench.errors import UserError
from kfc_bench.experiments import EXPERIMENTS, Visited
from kfc_bench.experiments.fidelity.case import FidelityCase
from kfc_bench.experiments.fidelity.measurement import SAMPLED, open_case
from kfc_bench.experiments.fidelity.plan import SMALL, parse
from kfc_bench.experiments.table import Table
from kfc_bench.experiments.trained import Training
from kfc_bench.problems.datasets import PROBLEMS
from kfc_bench.problems.networks import layer_geometries
from kfc_bench.resources import share
from kfc_bench.results.schema import COMMON, FIDELITY_ROW_COLUMNS, check_record
from kfc_bench.runner.suite import load_suite

CASE = FidelityCase(Training("digits", "digits_small", 64, 0.05, 0.9, 0, "cpu"), 1.0, 40, 1e-2, 1e-3, 60.0)
LAYERS = ["conv1", "conv2", "fc"]
LADDER = ["iad", "iad_sh", "iad_sh_plugin", "kfc_plugin", "nearest_kronecker"]
SHIPPED = ["kfc", "kfc_reduce", "ekfac", "sua", "prong", "mini_block", "diagonal", "block_diagonal"]


@pytest.fixture(scope="module")
def record():
    measurement = open_case(CASE)
    assert not isinstance(measurement, Visited)
    visits = 1
    while measurement.visit():
        visits += 1
    assert visits == len(LAYERS) + 1
    return measurement.record()


def rows_of(record, approximation, source="type2"):
    return [row for row in record["rows"] if (row["approximation"], row["source"]) == (approximation, source)]


def test_every_approximation_has_a_row_of_each_layer_and_one_of_the_network(record):
    check_record(dict.fromkeys(COMMON) | {"experiment": "fidelity"} | CASE.columns() | record)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert {tuple(row) for row in record["rows"]} == {FIDELITY_ROW_COLUMNS}
    for name in (*LADDER, *SHIPPED):
        assert [row["layer"] for row in rows_of(record, name)] == [*LAYERS, None], name
    for source in ("mc", "empirical"):
        for name in SAMPLED:
            assert [row["layer"] for row in rows_of(record, name, source)] == [*LAYERS, None]
        assert [row["layer"] for row in rows_of(record, "exact", source)] == [None]


def test_the_exact_matrix_is_exact(record):
    for row in [*rows_of(record, "exact"), *rows_of(record, "block_diagonal")[:-1]]:
        assert row["frobenius"] < 1e-12
        assert abs(row["stein"]) < 1e-8
        assert abs(row["kl"]) < 1e-8
        for ratio in ("trace_ratio", "cosine", "model_decrease", "loss_decrease"):
            assert row[ratio] == pytest.approx(1, abs=1e-8)
    assert 0.01 < rows_of(record, "block_diagonal")[-1]["frobenius"] < 1


def test_what_is_proven_holds_for_a_trained_network(record):
    errors = {
        name: [row["frobenius"] for row in rows_of(record, name)[: len(LAYERS)]]
        for name in ("kfc", "ekfac", "nearest_kronecker", "iad", "sua")
    }
    for name in ("ekfac", "nearest_kronecker"):
        assert all(one <= other for one, other in zip(errors[name], errors["kfc"], strict=True)), name
    # One position: independence is all that is assumed.
    assert errors["iad"][2] == pytest.approx(errors["kfc"][2], rel=1e-9)
    assert errors["sua"][2] == pytest.approx(errors["kfc"][2], rel=1e-9)
    for row in rows_of(record, "ekfac"):
        assert row["trace_ratio"] == pytest.approx(1, abs=1e-9)
    for row in record["rows"]:
        assert row["model_decrease"] is None or row["model_decrease"] <= 1 + 1e-9
        assert row["stein"] is None or row["stein"] > -1e-8
        assert row["indefinite"] == 0 or row["approximation"] in LADDER


def test_training_shows_in_the_record(record):
    assert 0 < record["train_loss"] < 2.4
    assert 0 < record["test_error"] < 0.95


def test_data_that_is_not_there_is_said(monkeypatch):
    def check():
        raise UserError("data set 'digits' is nowhere")

    monkeypatch.setitem(PROBLEMS, "digits", replace(PROBLEMS["digits"], check=check))
    with pytest.raises(Exception, match="nowhere") as caught:
        open_case(CASE)
    assert EXPERIMENTS["fidelity"].classify(FloatingPointError("nan")) == ("diverged", "nan")
    assert EXPERIMENTS["fidelity"].classify(caught.value) == ("unsupported", "data set 'digits' is nowhere")


SWEEP = {"problem": "digits", "network": ["digits", "digits_small"], "epoch": [0, 2]}


def plan(*sweeps, **changes):
    return parse(Table({"sweep": list(sweeps)} | changes, "mine.toml"), "cpu")


def test_every_combination_is_a_case():
    cases = plan(SWEEP | {"seed": [0, 1], "damping": [0.1, 0.01]}, defaults={"examples": 50}).due({})
    assert len({case.case_id for case in cases}) == len(cases) == 16
    assert {case.examples for case in cases} == {50}
    assert {case.columns()["parameters"] for case in cases} == {666, 1898}
    assert cases[0].label == "fidelity on digits, seed 0, epoch 0, damping 0.1"


def test_what_a_result_depends_on_tells_cases_apart():
    changes = [{"kl": 0.1}, {"lr": 0.1}, {"momentum": 0.0}, {"batch": 32}, {"examples": 5}, {"seed": 1}]
    cases = [plan(SWEEP | change).due({})[0].case_id for change in ({}, {"timeout_s": 1.0}, *changes)]
    assert cases[0] == cases[1]
    assert len(set(cases)) == len(changes) + 1


def test_the_networks_are_small():
    for network in SMALL:
        geometries = layer_geometries(network).values()
        assert sum(geometry.parameters for geometry in geometries) <= 2_500
        assert {(geometry.groups, geometry.padding_mode) for geometry in geometries} == {(1, "zeros")}


REFUSED = [
    ({"network": "cifar10"}, "network 'cifar10' is not one of digits, digits_small"),
    ({"problem": "fashion"}, "network 'digits' takes images of 1x8x8, 'fashion' has 1x28x28"),
    ({"epoch": -1.0}, "epoch = -1 must be at least 0"),
    ({"damping": 0.0}, r"damping = 0\.0 must be positive"),
    ({"momentum": 1.0}, "momentum = 1 must be at least 0 and below 1"),
    ({"examples": 0}, "examples = 0 must be at least 1"),
    ({"examples": 1198}, "examples = 1198, but 'digits' has 1197 training images"),
    ({"batch": 1198}, "batch = 1198, but 'digits' has 1197 training images"),
    ({"epochs": 3}, "unknown key 'epochs'.*did you mean 'epoch'"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_mistake_is_named(change, message):
    with pytest.raises(UserError, match=message):
        plan(SWEEP | change)


def test_the_suite_is_read_and_has_every_small_network_before_and_after_training():
    (section,) = load_suite(share("suites") / "fidelity.toml", "cpu").sections
    cases = section.plan.due({})
    assert {case.training.network for case in cases} == set(SMALL)
    for network in SMALL:
        epochs = [case.epoch for case in cases if case.training.network == network]
        assert min(epochs) == 0 < max(epochs)
