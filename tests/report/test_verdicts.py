import math

import numpy as np
import pytest

from kfc_bench.errors import UserError
from kfc_bench.measure.paired import PairedRatio
from kfc_bench.report.verdicts import Policy, StoredRatio, UnknownRatio, Verdict, parse_policy, verdicts

CASES = 300


def noisy_machine(seed, *, ratio=1.0, rounds=30, cases=CASES):
    """Draw visits of many cases on a shared machine: drift over rounds, heavy tails, a neighbour's bursts."""
    random = np.random.default_rng(seed)
    ratios = []
    for spread in np.exp(random.uniform(math.log(0.003), math.log(0.15), size=cases)):
        speed = np.exp(np.cumsum(random.normal(scale=0.05, size=rounds)))
        noise = np.exp(spread * random.standard_t(3, size=(2, rounds)))
        neighbour = 1 + (random.random((2, rounds)) < 0.05) * random.exponential(0.5, size=(2, rounds))
        base, other = speed * noise * neighbour
        ratios.append(PairedRatio(base.tolist(), (ratio * other).tolist()))
    return ratios


def half_width(ratio):
    low, high = ratio.interval()
    return (high - low) / 2


@pytest.mark.parametrize("seed", range(3))
def test_equal_code_is_called_different_in_one_case_of_a_hundred_at_most(seed):
    found = verdicts(noisy_machine(seed))
    different = sum(verdict in (Verdict.FASTER, Verdict.SLOWER) for verdict in found)
    assert different <= CASES / 100
    assert found.count(Verdict.SAME) > CASES / 3


@pytest.mark.parametrize("ratio", [1.1, 1 / 1.1], ids=["slower", "faster"])
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_tenth_is_found_wherever_equal_code_has_a_narrow_interval(seed, ratio):
    equal, planted = noisy_machine(seed), verdicts(noisy_machine(seed, ratio=ratio))
    expected = Verdict.SLOWER if ratio > 1 else Verdict.FASTER
    qualify = [verdict for same, verdict in zip(equal, planted, strict=True) if half_width(same) < 0.05]
    assert len(qualify) > CASES / 2
    assert qualify.count(expected) >= 0.95 * len(qualify)


def test_one_planted_case_among_many_is_found():
    ratios = noisy_machine(7, cases=200)
    calm = min(range(200), key=lambda index: half_width(ratios[index]))
    ratios[calm] = PairedRatio(ratios[calm].base, [1.1 * value for value in ratios[calm].other])
    found = verdicts(ratios)
    assert found[calm] is Verdict.SLOWER
    assert sum(verdict in (Verdict.FASTER, Verdict.SLOWER) for verdict in found) <= 3


def test_many_cases_need_more_evidence_than_one():
    slow = PairedRatio([1.0] * 7, [1.2, 1.21, 1.22, 1.19, 1.18, 1.2, 1.23])
    same = PairedRatio([1.0] * 7, [1.001, 0.999, 1.0, 1.002, 0.998, 1.0, 1.001])
    assert verdicts([slow]) == [Verdict.SLOWER]
    assert verdicts([slow] + 30 * [same])[0] is Verdict.UNCLEAR


BANDS = [
    (1.0, 0.005, Verdict.SAME),
    (1.0, 0.05, Verdict.UNCLEAR),
    (1.02, 0.02, Verdict.UNCLEAR),
    (1.2, 0.02, Verdict.SLOWER),
    (0.8, 0.02, Verdict.FASTER),
    (1.04, 0.001, Verdict.SLOWER),
    (1.029, 0.0001, Verdict.SAME),
]


@pytest.mark.parametrize(("ratio", "deviation", "verdict"), BANDS)
def test_the_tolerance_parts_same_from_different(ratio, deviation, verdict):
    assert verdicts([StoredRatio(ratio, deviation, degrees=50.0)]) == [verdict]


def test_a_wider_tolerance_forgives_more():
    assert verdicts([StoredRatio(1.08, 0.005, 50.0)], tolerance=0.1) == [Verdict.SAME]


def test_nothing_is_said_without_knowledge():
    assert verdicts([UnknownRatio(3.0)]) == [Verdict.UNCLEAR]
    assert UnknownRatio(3.0).interval() is None
    assert verdicts([]) == []


def test_few_degrees_of_freedom_widen_the_interval():
    (few_low, few_high), (low, high) = (StoredRatio(1.0, 0.01, degrees).interval() for degrees in (2.0, 100.0))
    assert few_low < low < 1 < high < few_high


POLICIES = {
    "slower": Policy(Verdict.SLOWER),
    "slower:5%": Policy(Verdict.SLOWER, 0.05),
    "faster:2.5%": Policy(Verdict.FASTER, 0.025),
    "unclear": Policy(Verdict.UNCLEAR),
}


@pytest.mark.parametrize("text", POLICIES)
def test_policies_are_read(text):
    assert parse_policy(text) == POLICIES[text]


@pytest.mark.parametrize(
    "text", ["", "same", "slower:", "slower:5", "slower:-5%", "slower:nan%", "Slower", "slower:5%%"]
)
def test_other_words_are_refused(text):
    with pytest.raises(UserError, match="write slower, slower:5%"):
        parse_policy(text)


FAILS = [
    ("slower", Verdict.SLOWER, 1.04, True),
    ("slower:5%", Verdict.SLOWER, 1.04, False),
    ("slower:5%", Verdict.SLOWER, 1.06, True),
    ("slower:5%", Verdict.UNCLEAR, 1.5, False),
    ("faster:5%", Verdict.FASTER, 0.9, True),
    ("faster:5%", Verdict.FASTER, 0.96, False),
    ("unclear", Verdict.UNCLEAR, 1.0, True),
    ("unclear", Verdict.BROKEN, math.inf, True),
    ("slower", Verdict.MENDED, math.inf, False),
]


@pytest.mark.parametrize(("policy", "verdict", "ratio", "fails"), FAILS)
def test_what_fails_a_build(policy, verdict, ratio, fails):
    assert parse_policy(policy).fails(verdict, ratio) is fails
