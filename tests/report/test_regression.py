from __future__ import annotations

import pytest

from kfc_bench.report.regression import conclude, judge
from kfc_bench.report.verdicts import Verdict, fewest_pairs, parse_policy, verdicts
from kfc_bench.results.bench_session import BenchSession

ROUNDS = 10
POLICIES = [parse_policy("slower:5%")]


def wobble(number):
    return 1 + 0.002 * ((7 * number) % 5 - 2)


def rounds_of(base, head, count=ROUNDS):
    """Make rounds out of what each side does with each test: seconds, or a text that tells why it has no time."""

    def session(side, number, shift):
        found = {"times": {}, "failed": {}, "skipped": {}}
        for test, does in side.items():
            done = does[number % len(does)] if isinstance(does, list) else does
            if isinstance(done, float):
                found["times"][test] = done * wobble(number + shift)
            else:
                kind, _, reason = done.partition(": ")
                found[kind][test] = reason
        return BenchSession(**found)

    return [(session(base, number, 0), session(head, number, 3)) for number in range(count)]


def only(judged):
    (difference,) = judged.differences
    return difference


@pytest.mark.parametrize(
    ("base", "head", "verdict"),
    [
        (1.0, 1.0, Verdict.SAME),
        (1.0, 1.2, Verdict.SLOWER),
        (1.0, 0.8, Verdict.FASTER),
        (1.0, [1.1, 0.9], Verdict.UNCLEAR),
        (1.0, "failed: AssertionError", Verdict.BROKEN),
        (1.0, [1.0, 1.0, "failed: now and then"], Verdict.BROKEN),
        (1.0, "skipped: no GPU", Verdict.BROKEN),
        ([1.0, 1.0, 1.0, "failed: once in a while"], "failed: AssertionError", Verdict.BROKEN),
        ("failed: AssertionError", 1.0, Verdict.MENDED),
        ("skipped: no GPU", 1.0, Verdict.MENDED),
    ],
)
def test_what_a_benchmark_does_on_either_side_is_its_verdict(base, head, verdict):
    difference = only(judge(rounds_of({"t": base}, {"t": head}), 0.03))
    assert difference.verdict is verdict
    assert (difference.ratio is None) == (verdict in (Verdict.BROKEN, Verdict.MENDED))


def test_the_reason_of_a_failure_is_pytest_s_and_says_how_often():
    rounds = rounds_of({"t": 1.0}, {"t": [1.0, 1.0, "failed: now and then"]})
    assert only(judge(rounds, 0.03)).reason == "fails in 3 of 10 sessions: now and then"


def test_new_gone_and_untimed_benchmarks_are_told_apart():
    both = {"kept": 1.0, "off": "skipped: no GPU", "bad": "failed: TypeError"}
    judged = judge(rounds_of({**both, "gone": 1.0}, {**both, "new": 2.0, "newly bad": "failed: E"}), 0.03)
    assert {entry.case_id: entry.verdict for entry in judged.differences} == {
        "kept": Verdict.SAME,
        "newly bad": Verdict.BROKEN,
        "gone": Verdict.MISSING,
    }
    assert judged.new == {"new": pytest.approx(2.0, rel=0.01)}
    assert judged.untimed == {"off": "skipped: no GPU", "bad": "fails in 10 of 10 sessions: TypeError"}


def test_rounds_in_which_a_side_lacks_a_time_are_left_out_of_the_pairs():
    flaky = [1.0, 1.0, "skipped: busy"]
    difference = only(judge(rounds_of({"t": flaky}, {"t": 1.5}), 0.03))
    assert difference.ratio.pairs == 7
    assert only(judge(rounds_of({"t": 1.0}, {"t": 1.5}, count=5), 0.03)).reason == "only 5 rounds"


def test_two_tests_that_never_run_in_the_same_round_have_no_ratio():
    here, there = [1.0, "skipped: busy"], ["skipped: busy", 1.0]
    judged = judge(rounds_of({"t": here}, {"t": there}), 0.03)
    assert not judged.differences
    assert "no round" in judged.untimed["t"]


@pytest.mark.parametrize("cases", [1, 2, 3, 12, 50, 100, 400])
def test_the_fewest_pairs_can_tell_one_case_among_many_and_one_pair_less_cannot(cases):
    def found(pairs):
        base = {f"t{number}": 1.0 for number in range(cases)}
        judged = judge(rounds_of(base, {**base, "t0": 1.5}, count=pairs), 0.03)
        return judged.differences[0].verdict

    assert found(fewest_pairs(cases)) is Verdict.SLOWER
    assert found(fewest_pairs(cases) - 1) is Verdict.UNCLEAR


def test_what_fails_once_fails_nothing():
    first = judge(rounds_of({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.2, "b": 1.2, "c": 1.0}), 0.03)
    second = judge(rounds_of({"a": 1.0, "b": 1.0}, {"a": 1.2, "b": 1.0}), 0.03)
    outcome = conclude(first, second, POLICIES, ROUNDS)
    assert [entry.case_id for entry in outcome.failing] == ["a"]
    assert [entry.case_id for entry in outcome.unconfirmed] == ["b"]
    assert outcome.second["b"].verdict is Verdict.SAME


def test_the_policy_s_share_counts_in_both_comparisons():
    first = judge(rounds_of({"a": 1.0}, {"a": 1.2}), 0.03)
    second = judge(rounds_of({"a": 1.0}, {"a": 1.04}), 0.03)
    assert second.differences[0].verdict is Verdict.SLOWER
    assert not conclude(first, second, POLICIES, ROUNDS).failing


def test_what_is_gone_fails_only_where_a_policy_says_so_and_needs_no_second_look():
    first = judge(rounds_of({"a": 1.0, "b": 1.0}, {"a": 1.0}), 0.03)
    assert not conclude(first, None, POLICIES, ROUNDS).failing
    outcome = conclude(first, None, [parse_policy("missing")], ROUNDS)
    assert [entry.case_id for entry in outcome.failing] == ["b"]


def test_nothing_to_judge_is_no_verdict():
    assert verdicts([]) == []
    judged = judge(rounds_of({}, {"new": 1.0}, count=1), 0.03)
    assert not judged.differences
    assert set(judged.new) == {"new"}
