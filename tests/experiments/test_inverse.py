"""The inverse experiment: its matrices, its plan, and what a measured case records."""

import math

import pytest
import torch

from kfc_bench.errors import UserError
from kfc_bench.experiments import EXPERIMENTS, Visited
from kfc_bench.experiments.inverse.case import InverseCase, MadeUp, Trained
from kfc_bench.experiments.inverse.factors import FACTORS, Training, captured
from kfc_bench.experiments.inverse.families import FAMILIES
from kfc_bench.experiments.inverse.measurement import open_case
from kfc_bench.experiments.inverse.plan import parse
from kfc_bench.experiments.table import Table
from kfc_bench.measure.visits import StoppingRule
from kfc_bench.problems.networks import layer_geometries
from kfc_bench.resources import share
from kfc_bench.results.schema import COMMON, check_record
from kfc_bench.runner.suite import load_suite

TRAINING = Training("digits_small", 16, 5, 0.01, 0.1, 1, 2, 0)


def inverse_case(origin, implementation="cholesky", start=None, dtype="float32"):
    return InverseCase(origin, implementation, start, dtype, "cpu", StoppingRule(least_visits=6, most_visits=6), 60.0)


def measured(case):
    measurement = open_case(case)
    assert isinstance(measurement, Visited)
    visits = 1
    while measurement.visit():
        visits += 1
    record = measurement.record()
    check_record(dict.fromkeys(COMMON) | {"experiment": "inverse"} | case.columns() | record)
    assert record["visits"] == visits == len(measurement.visit_medians) == 6
    assert 0 < record["time_ci_low_s"] <= record["time_median_s"] <= record["time_ci_high_s"]
    return record


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("condition", [1e1, 1e6])
@pytest.mark.parametrize("size", [8, 33])
def test_a_family_has_the_condition_asked_for(family, condition, size):
    matrix, shift = FAMILIES[family](size, condition)
    assert (matrix.dtype, matrix.shape) == (torch.float64, (size, size))
    assert torch.equal(matrix, FAMILIES[family](size, condition)[0])
    torch.testing.assert_close(matrix, matrix.mT)
    values = torch.linalg.eigvalsh(matrix) + shift
    assert values[0] > 0
    assert float(values[-1] / values[0]) == pytest.approx(condition, rel=3 if family == "rowscale" else 1e-3)
    assert 0.3 < float(values[-1]) < 3


def test_a_training_s_factors_are_captured_at_every_refresh():
    factors = captured(TRAINING, "cpu")
    assert list(factors) == [0, 2, 4]
    geometries = layer_geometries("digits_small").values()
    for layers in factors.values():
        sizes = [tuple(len(factor) for factor in layer) for layer in layers]
        assert sizes == [(geometry.patch_dim, geometry.group_outputs) for geometry in geometries]
    assert not torch.equal(factors[0][0][0], factors[2][0][0])


@pytest.mark.parametrize("implementation", ["cholesky", "eigendecomposition", "newton"])
def test_a_made_up_matrix(implementation):
    start = "cold" if implementation == "newton" else None
    record = measured(inverse_case(MadeUp("spectrum", 16, 1e3), implementation, start))
    assert record["condition"] == 1e3
    assert 1e-8 < record["residual"] < 1e-3
    assert 1e-8 < record["rel_error"] < 1e-3
    assert record["raised"] == 0
    assert (record["iterations"] is None) is (start is None)


def test_a_warm_start_is_from_the_refresh_before():
    def iterations(start, step):
        origin = Trained(TRAINING, "conv2", "input_factor", 1e-2, step)
        return measured(inverse_case(origin, "newton", start))["iterations"]

    assert iterations("warm", 0) == iterations("cold", 0)
    assert iterations("warm", 4) < iterations("cold", 4)


def test_what_needed_more_damping_is_said():
    record = measured(inverse_case(MadeUp("repeated", 16, 1e9)))
    assert record["raised"] == 1
    assert record["residual"] > 0.1


SUITE = {"sweep": [{"family": ["dense", "psd"], "size": [8, 16], "condition": 10}]}


def plan(**changes):
    return parse(Table(SUITE | changes, "mine.toml"), "cpu")


def test_every_combination_is_a_case():
    cases = plan(defaults={"implementation": ["cholesky", "newton"]}).due({})
    assert len({case.case_id for case in cases}) == len(cases) == 8
    assert {(case.implementation, case.start) for case in cases} == {("cholesky", None), ("newton", "cold")}
    assert len({case.group for case in cases}) == 4
    assert cases[0].label.startswith("cholesky, family dense 8 10")


def test_a_training_is_swept_over_layers_factors_dampings_and_refreshes():
    sweep = {"network": "digits", "damping": [0.1, 0.01], "steps": 30, "implementation": "newton"}
    found = plan(sweep=[sweep | {"start": ["warm", "cold"]}])
    assert found.total == 2 * 3 * len(FACTORS) * 2 * 2
    sizes = {(case.columns()["layer"], case.columns()["factor"]): case.columns()["size"] for case in found.due({})}
    assert sizes["fc", "input_factor"] == 65
    assert {case.start for case in plan(sweep=[sweep]).due({})} == {"warm"}


REFUSED = [
    ({"family": "sparse", "size": 8, "condition": 10}, "family 'sparse' is not one of"),
    ({"family": "psd", "size": 4, "condition": 10}, "size = 4 must be at least 8"),
    ({"family": "psd", "size": 8, "condition": 1}, r"condition = 1\.0 must be more than 1"),
    ({"family": "psd", "size": 8, "condition": 10, "implementation": "magic"}, "implementation 'magic' is not one of"),
    ({"network": "cifar10", "damping": 1.0}, "network 'cifar10' is not one of digits, digits_small"),
    ({"network": "digits", "damping": 0.0}, r"damping = 0\.0 must be positive"),
    ({"network": "digits", "damping": 1.0, "size": 8}, "unknown key 'size'"),
    ({"network": "digits", "damping": 1.0, "least_visits": 7}, "most_visits = 6 must be at least least_visits = 7"),
]


@pytest.mark.parametrize(("sweep", "message"), REFUSED)
def test_a_mistake_is_named(sweep, message):
    with pytest.raises(UserError, match=message):
        plan(sweep=[sweep])


def test_the_suite_is_read_and_sweeps_every_family():
    (section,) = load_suite(share("suites") / "inverses.toml", "cpu").sections
    assert section.kind in EXPERIMENTS
    columns = [case.columns() for case in section.plan.due({})]
    assert {entry["family"] for entry in columns if entry["source"] == "family"} == set(FAMILIES)
    assert math.log10(max(entry["condition"] for entry in columns if entry["source"] == "family")) == 8
