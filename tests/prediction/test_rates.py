import math

import numpy as np
import pytest

from kfc_bench.errors import UserError
from kfc_bench.prediction.amounts import UNITS
from kfc_bench.prediction.model import RATES_FILE, DeviceModel, fit, read_models
from kfc_bench.prediction.rates import Timed, assumed, fitted
from kfc_bench.prediction.replay import Step
from kfc_bench.prediction.samples import Sample
from kfc_bench.report.files import write_text
from tests.prediction.synthetic import COUNTED, DEVICE, EXACT, drawn_amounts


def timed(amounts, rates, share=0.5):
    return [Timed(row, rates.of(row), share) for row in amounts]


def test_rates_are_found_again():
    found = fitted(timed(drawn_amounts(200), EXACT), COUNTED)
    fresh = drawn_amounts(20, seed=1)
    assert [found.of(row) for row in fresh] == pytest.approx([EXACT.of(row) for row in fresh], rel=1e-6)


def test_no_rate_is_negative_however_noisy_the_times():
    generator = np.random.default_rng(0)
    parts = [
        Timed(part.amounts, part.seconds * generator.lognormal(0, 1), 0.1) for part in timed(drawn_amounts(60), EXACT)
    ]
    assert min(fitted(parts, COUNTED).seconds.values()) >= 0


def test_what_no_part_has_keeps_the_prior():
    amounts = drawn_amounts(100)
    place = UNITS.index(("eigenvectors", "flop"))
    amounts[:, place] = 0.0
    found = fitted(timed(amounts, EXACT), COUNTED)
    assert found.seconds["eigenvectors", "flop"] == COUNTED.seconds["eigenvectors", "flop"]


def test_half_the_rates_take_twice_as_long():
    slow, fast = assumed(1e10, 1e9, 2e-5, 0.5), assumed(2e10, 2e9, 1e-5, 0.5)
    for row in drawn_amounts(5):
        assert slow.of(row) == pytest.approx(2 * fast.of(row))


def sample(network, factor, seed):
    parts = [Timed(part.amounts, factor * part.seconds, part.share) for part in timed(drawn_amounts(80, seed), EXACT)]
    seconds = sum(part.seconds for part in parts)
    return Sample(DEVICE, network, "1x8x8", Step("kfc", 8), 10, 20, seconds, 1, 1, parts)


def test_each_network_is_predicted_from_the_others():
    model = fit([sample("one", 1.0, 1), sample("two", 1.0, 2), sample("slow", 1.5, 3)], COUNTED, "three")
    assert model.errors["slow"] == [pytest.approx(-math.log(1.5), abs=0.02)]
    low, high = model.interval()
    assert low <= 1 <= high
    assert high == pytest.approx(1.5, rel=0.05)


def test_one_network_says_nothing_of_another():
    with pytest.raises(UserError, match="two networks"):
        fit([sample("one", 1.0, 1)], COUNTED, "results")


def test_a_model_is_read_as_it_was_written(tmp_path):
    import json

    model = fit([sample("one", 1.0, 1), sample("two", 1.2, 2)], COUNTED, "two")
    write_text(json.dumps(model.described()), tmp_path / "deep" / RATES_FILE)
    assert read_models(tmp_path) == {DEVICE: model}


@pytest.mark.parametrize("text", ["{", "{}", '{"device": "x", "seconds": {}}', "[]"])
def test_a_damaged_file_is_named(tmp_path, text):
    write_text(text, tmp_path / RATES_FILE)
    with pytest.raises(UserError, match=r"rates\.json: no file of rates"):
        read_models(tmp_path)


def test_assumed_rates_are_trusted_to_a_factor_only():
    low, high = DeviceModel(DEVICE, COUNTED, {}, True, "a guess").interval()
    assert low == pytest.approx(1 / 3)
    assert high == pytest.approx(3)
