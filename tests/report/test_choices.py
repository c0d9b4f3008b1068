"""What auto chooses, judged on committed times of layers that its rates were not fitted to."""

from __future__ import annotations

import pytest

from kfc_bench.report.choices import choice_table, choices, fitted, layer_geometry, regret
from kfc_bench.resources import share
from kfc_bench.results.frames import load_results
from kfc_kernels import ConvGeometry
from kfc_kernels.input_factor.rates import CPU


def committed(name):
    return choices(load_results([share("results") / "cpu" / name]).cost)


def test_the_rates_are_those_that_fit_the_grid():
    rates = fitted(committed("dispatch-fit"))
    assert set(rates) == set(CPU)
    for name, expected in CPU.items():
        for part in ("flops", "bytes", "call"):
            assert getattr(rates[name], part) == pytest.approx(getattr(expected, part), rel=0.02)


def test_no_layer_is_judged_that_was_fitted_to():
    seen = {(choice.case.geometry, choice.case.batch) for choice in committed("dispatch-fit")}
    assert not seen & {(choice.case.geometry, choice.case.batch) for choice in committed("dispatch-judge")}


def test_regret_on_known_networks():
    judged = committed("dispatch-judge")
    mean, worst = regret(judged)
    assert len(judged) >= 20
    assert {choice.chosen for choice in judged} == {"reference", "autocovariance"}
    assert mean <= 1.10
    assert worst <= 2


def test_a_choice_that_was_wrong_is_shown_first():
    judged = committed("dispatch-judge")
    table = choice_table(judged, "here")
    assert [len(row) for row in table.rows] == [len(table.header)] * len(judged)
    worst = max(judged, key=lambda choice: choice.regret)
    assert table.rows[0][0] == f"{worst.layer}, batch {worst.case.batch}"


@pytest.mark.parametrize(
    "geometry",
    [
        ConvGeometry.conv(3, 4, (5, 6), (3, 2), stride=(1, 2), padding=(1, 0), dilation=2, bias=True),
        ConvGeometry.conv(4, 4, (9,), 4, padding="same", groups=2),
    ],
)
def test_a_layer_is_rebuilt_from_its_record(geometry):
    def words(values):
        return "x".join(map(str, values))

    row = {
        "size": words(geometry.in_size),
        "kernel": words(geometry.kernel),
        "stride": words(geometry.stride),
        "dilation": words(geometry.dilation),
        "padding": words(f"{before}+{after}" for before, after in geometry.padding),
    }
    row |= {name: getattr(geometry, name) for name in ("in_channels", "out_channels", "groups", "bias")}
    assert layer_geometry(row) == geometry
