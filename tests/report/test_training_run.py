"""A run's cost from hand-made parts of steps."""

import pandas as pd
import pytest

from kfc_bench.report.training_run import StepParts, run_table, step_parts
from kfc_bench.results.frames import Results

WHERE = {"env_id": "e", "network": "cifar10", "batch": 500, "dtype": "float32", "precision": "ieee", "status": "ok"}
TIMES = [
    ("sgd", "forward", 1.0),
    ("sgd", "backward", 2.0),
    ("sgd", "update", 0.5),
    ("sgd", "step", 3.6),
    ("kfc", "statistics", 10.0),
    ("kfc", "refresh", 40.0),
    ("kfc", "precondition", 0.25),
    ("kfc", "clip", 0.75),
    ("ekfac", "refresh", 1.0),
]


EMPTY = {name: pd.DataFrame() for name in ("convergence", "trials", "inverses", "profiles", "profile")}


def frame(rows=TIMES):
    return pd.DataFrame(
        [
            {
                **WHERE,
                "approximation": name,
                "phase": phase,
                "time_median_s": value,
                "clip": 0.3 if phase == "clip" else None,
            }
            for name, phase, value in rows
        ]
    )


def test_parts_are_collected_by_optimizer():
    ((key, parts),) = step_parts(frame()).items()
    assert key == ("e", "cifar10", 500, "float32", "ieee")
    assert parts == {
        "sgd": StepParts(3.5, 1.0),
        "kfc": StepParts(3.5, 1.0, 10.0, 40.0, 0.25),
        "kfc clipped": StepParts(3.5, 1.0, 10.0, 40.0, 0.25, 0.75),
    }


def test_a_step_and_a_run_by_hand():
    clipped = step_parts(frame())["e", "cifar10", 500, "float32", "ieee"]["kfc clipped"]
    assert clipped.step(10, 20) == pytest.approx(3.5 + 10 / 10 + 40 / 20 + 0.25 + 0.75)
    assert clipped.step(5, 40) == pytest.approx(3.5 + 10 / 5 + 40 / 40 + 0.25 + 0.75)
    assert clipped.initialisation(100) == pytest.approx(100 * (1 + 10) + 40)
    assert clipped.run(1000, 100, 10, 20) == pytest.approx(1140 + 1000 * 7.5)
    assert StepParts(3.5, 1.0).run(1000, 100, 10, 20) == 3500


def test_the_table_puts_runs_beside_sgd():
    environment = {"device": "a device", "device_kind": "cuda"}
    results = Results(cost=frame(), environments={"e": environment}, **EMPTY)
    table = run_table(results)
    assert [row[:3] for row in table.rows] == [["cifar10", "500", name] for name in ("sgd", "kfc", "kfc clipped")]
    assert [row[-1] for row in table.rows] == ["1x", "2.25x", "2.47x"]
    assert [row[9] for row in table.rows] == ["3.6 s", "-", "-"]


def test_without_parts_there_is_no_table():
    environment = {"device": "a device", "device_kind": "cuda"}
    whole = frame([("sgd", "step", 1.0), ("kfc", "step", 2.0)])
    assert run_table(Results(cost=whole, environments={"e": environment}, **EMPTY)) is None
