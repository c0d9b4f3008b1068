"""The central sweep reaches the ends of every axis, on either device, and counts what it tries."""

import pytest

from kfc_bench.experiments.cost import prediction
from kfc_bench.measure.ceilings import Ceilings
from kfc_bench.resources import share
from kfc_bench.runner.suite import load_suite

SUITE = share("suites") / "layers.toml"
DEVICES = {"cpu": Ceilings(1.5e11, 3e10), "cuda": Ceilings(5e13, 3e12)}
MINUTES = {"cpu": 20, "cuda": 60}


def cases_of(variant):
    return load_suite(SUITE, "cpu", variant).sections[0].plan.due({})


@pytest.mark.parametrize("variant", DEVICES)
def test_every_axis_has_both_its_ends(variant):
    cases = cases_of(variant)
    layers = [case.geometry for case in cases]
    ends = {
        "channels": {layer.in_channels for layer in layers} >= {16, 512},
        "maps": {layer.in_size for layer in layers} >= {(7, 7), (56, 56)},
        "kernels": {layer.kernel[0] for layer in layers} == {1, 3, 5, 7},
        "batch": {case.batch for case in cases} >= {1, 4096},
        "approximations": {case.approximation for case in cases} == {"kfc", "diagonal", "block_diagonal", "exact"},
        "phases": {case.phase for case in cases} == {"accumulate", "refresh", "precondition"},
    }
    assert all(ends.values()), ends


@pytest.mark.parametrize("variant", DEVICES)
def test_it_takes_no_longer_than_it_says(variant, monkeypatch):
    monkeypatch.setattr(prediction, "measured_ceilings", lambda *_: DEVICES[variant])
    tried = [case for case in cases_of(variant) if prediction.infeasible(case) is None]
    assert {case.approximation for case in tried} == {"kfc", "diagonal", "block_diagonal", "exact"}
    assert 60 * MINUTES[variant] > 1.3 * len(tried)


def test_the_device_chooses_the_variant():
    assert load_suite(SUITE, "cpu").variant == "cpu"
