"""A run's cost from hand-made profiles of steps."""

import pandas as pd
import pytest

from kfc_bench.report.training_run import initialisation_s, run_s, run_table
from kfc_bench.results.frames import Results

WHERE = {"run_id": "r", "env_id": "e", "network": "cifar10", "batch": 500, "dtype": "float32", "precision": "ieee"}
PASSES = {"forward": 1.0, "backward": 2.0, "update": 0.5}
KFC = {**PASSES, "sampled backward": 2.0, "input factor": 5.0, "output factor": 3.0, "inverse": 40.0, "precondition": 1}
EKFAC = {**KFC, "eigenvalue correction": 10.0}
STEPS = {"sgd": (3.5, PASSES), "kfc": (7.5, KFC), "ekfac": (8.5, EKFAC)}


def parts(name):
    # Two layers share each phase.
    return pd.DataFrame(
        [
            {"run_id": "r", "case_id": name, "layer": layer, "phase": phase, "call_s": value / 2}
            for phase, value in STEPS[name][1].items()
            for layer in ("conv1", "conv2")
        ]
    )


def results(names=tuple(STEPS), **columns):
    empty = {name: pd.DataFrame() for name in ("cost", "convergence", "trials", "inverses", "fidelity", "correlation")}
    profiles = pd.DataFrame(
        [
            {
                **WHERE,
                "case_id": name,
                "approximation": name,
                "status": "ok",
                "step_s": STEPS[name][0],
                "clip": None,
                **columns,
            }
            for name in names
        ]
    )
    return Results(
        profiles=profiles,
        profile=pd.concat([parts(name) for name in STEPS]),
        environments={"e": {"device": "a device", "device_kind": "cuda"}},
        **empty,
    )


def test_an_initialisation_by_hand():
    assert initialisation_s(parts("kfc"), 100) == pytest.approx(100 * (1 + 2 + 5 + 3) + 40)
    assert initialisation_s(parts("ekfac"), 100) == pytest.approx(100 * (1 + 2 + 5 + 3 + 10) + 40)
    assert initialisation_s(parts("sgd"), 100) == 0


def test_a_run_by_hand():
    assert run_s(7.5, parts("kfc"), 500) == pytest.approx((1140, 1140 + 1000 * 7.5))
    assert run_s(3.5, parts("sgd"), 500) == (0, 3500)
    assert run_s(3.5, parts("sgd"), 512) == (0, 980 * 3.5), "the last batch of an epoch may be a part"


def test_the_table_puts_runs_beside_sgd():
    table = run_table(results())
    assert [row[:3] for row in table.rows] == [["cifar10", "500", name] for name in STEPS]
    assert [row[4] for row in table.rows] == ["-", "1140 s", "2140 s"]
    assert [row[-1] for row in table.rows] == ["1x", "2.47x", "3.04x"]


def test_without_sgd_beside_it_a_run_has_no_ratio():
    (row,) = run_table(results(["kfc"])).rows
    assert row[-1] == "-"


def test_without_profiles_there_is_no_table():
    assert run_table(results(status="timeout")) is None
