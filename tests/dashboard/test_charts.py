from __future__ import annotations

import pandas as pd
import pytest

from tests.dashboard.folders import COSTS

charts = pytest.importorskip("kfc_dashboard.charts")
data = pytest.importorskip("kfc_dashboard.data")
looks = pytest.importorskip("kfc_dashboard.looks")

LOOKS = looks.looks(looks.COLOURS)


def points(measure, phase, **changes):
    frame = data.tidy(pd.DataFrame(COSTS)).assign(fisher=None, clip=None, **changes)
    found = data.cost_points(frame[frame["phase"] == phase], relative=False)
    return found[found["measure"] == measure]


def draw(drawn, **changes):
    options = {"title": "t", "subject": "s", "measure": "time", "relative": False, "domain": (1e-4, 1.0), **changes}
    return charts.cost_chart(drawn, LOOKS, **options).to_dict()


@pytest.mark.parametrize(
    ("low", "high", "base", "expected"),
    [
        (1e-3, 0.1, 10, [1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1]),
        (1e-3, 2.0, 10, [1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0]),
        (1e-6, 1.0, 10, [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0]),
        (2**20, 2**23, 2, [2**20, 2**21, 2**22, 2**23]),
        (1.1, 1.2, 2, []),
    ],
)
def test_ticks_are_round_and_few(low, high, base, expected):
    assert charts.ticks(low, high, base) == pytest.approx(expected)


def test_span_leaves_air_and_room_for_crosses():
    assert charts.span([0.0, float("nan"), 3.0, 6.0]) == (2.0, 9.0)
    low, high = charts.span([3.0, 6.0], crosses=2)
    assert low == 2.0
    assert high > 9.0
    assert charts.span([0.0, float("nan")]) is None


def test_marks_of_a_cost_chart():
    layers = draw(points("time", "accumulate"))["layer"]
    assert [layer["mark"]["type"] for layer in layers] == ["line", "rule", "point", "point"]
    assert layers[3]["mark"]["shape"] == charts.CROSS
    for axis in ("x", "y"):
        assert layers[0]["encoding"][axis]["scale"]["type"] == "log"
    assert layers[1]["encoding"]["y2"]["field"] == "high"
    colour = layers[0]["encoding"]["color"]["scale"]
    assert dict(zip(colour["domain"], colour["range"], strict=True)) == {
        "KFC": "#0072B2",
        "diagonal": "#E69F00",
        "exact": "#CC79A7",
    }


def test_a_prediction_is_hollow():
    layers = draw(points("memory", "accumulate"), measure="memory", domain=(1.0, 2.0**33))["layer"]
    assert [layer["mark"].get("filled") for layer in layers if layer["mark"]["type"] == "point"] == [True, False]


def test_zero_lies_on_the_bottom_edge():
    layers = draw(points("memory", "refresh"), measure="memory", domain=(1.0, 2.0**33))["layer"]
    assert [layer["encoding"]["y"].get("value") for layer in layers[-2:]] == ["height", 9]


def test_implementations_are_told_apart_only_where_there_are_several():
    assert "strokeDash" not in draw(points("time", "step"))["layer"][0]["encoding"]
    both = pd.concat([points("time", "step"), points("time", "step", implementation="autocovariance")])
    assert draw(both)["layer"][0]["encoding"]["strokeDash"]["field"] == "implementation"


def test_a_cost_chart_in_words():
    said = charts.describe_cost(points("time", "accumulate"), LOOKS, title="Accumulate", measure="time", relative=False)
    assert "KFC: 500 us to 2 ms. diagonal: 1 ms to 4 ms. exact: no measurement." in said


CURVE = pd.DataFrame(
    {
        "approximation": "kfc",
        "step": [0, 10],
        "seconds": [0.0, 1.0],
        "value": [0.5, 0.0],
        "low": [0.4, 0.0],
        "high": 0.6,
        "seeds": 3,
    }
)


@pytest.mark.parametrize(
    ("log_x", "log_y", "steps"), [(False, False, [0, 10]), (False, True, [0]), (True, False, [10])]
)
def test_a_logarithmic_axis_has_no_place_for_zero(log_x, log_y, steps):
    options = {"subject": "s", "x": "step", "y_title": "test error", "log_x": log_x, "log_y": log_y, "target": 0.3}
    spec = charts.convergence_chart(CURVE, LOOKS, **options).to_dict()
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["area", "line", "point", "rule", "text"]
    assert spec["layer"][1]["encoding"]["x"]["scale"]["type"] == ("log" if log_x else "linear")
    assert spec["layer"][1]["encoding"]["y"]["scale"]["type"] == ("log" if log_y else "linear")
    curve = next(rows for rows in spec["datasets"].values() if "step" in rows[0])
    assert [row["step"] for row in curve] == steps


def test_a_convergence_chart_in_words():
    said = charts.describe_convergence(CURVE, LOOKS, x="step", y_title="test error")
    assert said == "Median test error over seeds against steps. KFC: ends at 0 after 10 steps, 1 s."
