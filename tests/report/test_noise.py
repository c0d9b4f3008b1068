"""The verdicts on a real machine's noise: results/cpu/noise compares a revision with itself, case by case in turn."""

import json

import pytest

from kfc_bench.measure.paired import PairedRatio
from kfc_bench.report.pairs import paired
from kfc_bench.report.verdicts import Verdict, verdicts
from kfc_bench.resources import share

RECORDS = share("results") / "cpu" / "noise" / "records.jsonl"
NARROW = 0.05


@pytest.fixture(scope="module")
def ratios():
    pairs = [json.loads(line) for line in RECORDS.read_text().splitlines()]
    assert all(pair[side]["status"] == "ok" for pair in pairs for side in "ab")
    return [paired(pair["a"], pair["b"]) for pair in pairs]


def width(ratio):
    low, high = ratio.interval()
    return high - low


def test_there_are_enough_cases_with_enough_rounds(ratios):
    assert len(ratios) >= 200
    assert min(ratio.pairs for ratio in ratios) >= 20


def test_a_revision_differs_from_itself_in_one_case_of_a_hundred_at_most(ratios):
    found = verdicts(ratios)
    assert sum(verdict in (Verdict.FASTER, Verdict.SLOWER) for verdict in found) <= len(ratios) / 100


def test_most_intervals_are_narrow(ratios):
    assert sum(width(ratio) < NARROW for ratio in ratios) >= 0.7 * len(ratios)


@pytest.mark.parametrize(("factor", "verdict"), [(1.1, Verdict.SLOWER), (1 / 1.1, Verdict.FASTER)])
def test_a_planted_tenth_is_found_wherever_the_interval_is_narrow(ratios, factor, verdict):
    planted = [PairedRatio(ratio.base, [factor * seconds for seconds in ratio.other]) for ratio in ratios]
    found = [entry for ratio, entry in zip(ratios, verdicts(planted), strict=True) if width(ratio) < NARROW]
    assert found.count(verdict) >= 0.95 * len(found)
