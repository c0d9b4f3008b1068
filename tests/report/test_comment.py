from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kfc_bench.report.comment import LONGEST, Setting, code, comment, failure, headline, marker
from kfc_bench.report.drift import drift_table
from kfc_bench.report.regression import conclude, judge
from kfc_bench.report.verdicts import parse_policy
from kfc_bench.results.baselines import Baseline
from tests.report.test_regression import ROUNDS, rounds_of

POLICIES = [parse_policy("slower:5%")]
SETTING = Setting(
    name="GPU benchmarks",
    base="1111111111aaaa",
    head="2222222222bbbb",
    policies=["slower:5%"],
    tolerance=0.03,
    machine={"device": "NVIDIA H100", "driver": "570.1", "torch": "2.13.0", "python_version": "3.11.7"},
    throttled=None,
    changed=[],
    command="kfc-bench regression 1111 2222 benchmarks",
)


def outcome(base, head, again_base=None, again_head=None, **more):
    first = judge(rounds_of(base, head), 0.03)
    second = None if again_base is None else judge(rounds_of(again_base, again_head), 0.03)
    return conclude(first, second, POLICIES, ROUNDS, **more)


def parts(text):
    """Split a comment into what is seen at once and what is folded away."""
    return re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL), "".join(
        re.findall(r"<details>.*?</details>", text, flags=re.DOTALL)
    )


def test_equal_code_is_one_sentence_and_a_fold():
    seen, folded = parts(comment(outcome({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0}), SETTING, None))
    assert seen.splitlines()[0] == "<!-- kfc-bench regression: GPU benchmarks -->"
    assert seen.splitlines()[1] == "**GPU benchmarks: no benchmark fails the policy slower:5%.** 2 SAME."
    assert "`a`" not in seen
    assert "<summary>All of them: 2 SAME</summary>" in folded
    assert "| `a` |" in folded


def test_what_fails_is_named_first_and_with_both_runs():
    slow = outcome({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.2}, {"b": 1.0}, {"b": 1.1})
    seen, folded = parts(comment(slow, SETTING, None))
    assert seen.splitlines()[1].startswith(
        "**GPU benchmarks: 1 of 2 benchmarks fails the policy slower:5%:** `b` 1.2x SLOWER"
    )
    row = next(line for line in seen.splitlines() if line.startswith("| `b`"))
    assert re.search(r"1\.2x \[1\.\d+, 1\.\d+\] \| SLOWER \| 1\.1x \[1\.\d+, 1\.\d+\] SLOWER", row)
    assert "`a`" not in seen
    assert "| `a` |" in folded


def test_what_was_not_confirmed_is_shown_as_that():
    noisy = outcome({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.2}, {"b": 1.0}, {"b": 1.0})
    seen, _ = parts(comment(noisy, SETTING, None))
    assert "no benchmark fails the policy" in seen
    assert "**Not confirmed on a second run, so no failure**" in seen


def test_broken_new_and_untimed_benchmarks_are_told_with_their_reasons():
    both = {"x": "skipped: torch sees no CUDA device"}
    seen, _ = parts(comment(outcome({"a": 1.0, **both}, {"a": "failed: E", "n": 2e-3, **both}), SETTING, None))
    assert "1 of 1 benchmarks fails the policy slower:5%:** `a` BROKEN" in seen
    assert "`fails in 10 of 10 sessions: E`" in seen
    assert re.search(r"New, so compared with nothing: `n` 2 ms", seen)
    assert "No time on either side: `x` (`skipped: torch sees no CUDA device`)." in seen


def test_a_base_without_benchmarks_is_said():
    assert "nothing to compare" in headline(outcome({}, {"n": 1.0}), SETTING)


def test_where_it_ran_and_how_to_repeat_it():
    seen, _ = parts(comment(outcome({"a": 1.0}, {"a": 1.0}), replace(SETTING, throttled=3, changed=["b.py"]), None))
    assert "222222222 against 111111111, 10 sessions of each in turn; differences under 3 % do not matter." in seen
    assert "NVIDIA H100, driver 570.1, torch 2.13.0, Python 3.11.7, 3 visits on a throttled GPU." in seen
    assert "```\nkfc-bench regression 1111 2222 benchmarks\n```" in seen
    assert "the benchmark itself may differ: `b.py`" in seen


def test_one_that_was_broken_off_says_so():
    assert "Broken off after 10 rounds." in headline(outcome({"a": 1.0}, {"a": 1.0}, interrupted=True), SETTING)


@pytest.mark.parametrize(
    "nasty", ["a`b", "x|y", "<!-- kfc-bench regression: it -->", "@someone", "two\nlines", "w" * 999]
)
def test_names_and_reasons_stay_text(nasty):
    shown = code(nasty)
    assert shown.startswith("`")
    assert shown.count("`") == 2
    assert "\n" not in shown
    assert len(shown) <= 202
    text = comment(outcome({nasty: 1.0}, {nasty: "failed: " + nasty}), SETTING, None)
    table_row = next(line for line in text.splitlines() if line.startswith("| `"))
    assert len(re.findall(r"(?<!\\)\|", table_row)) == 7


def test_a_comment_is_never_longer_than_github_takes():
    names = {f"benchmarks/bench_{number}.py::test_with_a_long_name[{'p' * 60}]": 1.0 for number in range(2000)}
    text = comment(outcome(names, names), SETTING, None)
    assert len(text) <= LONGEST
    shown, hidden = text.count("| SAME |"), int(re.search(r"(\d+) more rows are left out", text)[1])
    assert shown + hidden == 2000
    assert shown > 200
    assert SETTING.command in text


@pytest.mark.parametrize("failing", [2000, 1000])
def test_nor_is_one_of_two_thousand_that_fail_or_are_not_confirmed(failing):
    """So many fail twice, the rest once; each has a row or is counted, in the folds too."""
    names = [f"benchmarks/bench_{number}.py::test_with_a_long_name[{'p' * 60}]" for number in range(2000)]
    base, broken = dict.fromkeys(names, 1.0), dict.fromkeys(names, "failed: " + "why " * 100)
    again = broken | dict.fromkeys(names[failing:], 1.0)
    drift = drift_table(base, [baseline(1, **base)])
    text = comment(outcome(base, broken, base, again), SETTING, drift)
    seen, folded = parts(text)
    assert len(text) <= LONGEST
    assert SETTING.command in seen
    for part, tables, benchmarks in ((seen, 1 if failing == 2000 else 2, 2000), (folded, 2, 4000)):
        hidden = [int(count) for count in re.findall(r"(\d+) more rows are left out", part)]
        assert len(hidden) == tables
        assert part.count("\n| `benchmarks/") + sum(hidden) == benchmarks
    assert len(seen.partition("Not confirmed")[0]) > LONGEST / 3


def test_a_table_without_room_is_counted_whole():
    names = dict.fromkeys(["a", "b"], 1.0)
    long = replace(SETTING, command="x" * LONGEST)
    assert "2 more rows are left out" in comment(outcome(names, names), long, None)


def test_a_comparison_that_could_not_be_made_is_a_comment_too():
    assert failure("it", "pytest said\n`no`").splitlines() == [
        marker("it"),
        "**it: the benchmarks could not be compared.**",
        "",
        "`pytest said 'no'`",
    ]


def baseline(number, **medians):
    return Baseline(f"{number:040x}", f"2026-01-{number:02d}T00:00:00Z", "NVIDIA H100", {}, medians)


def cells(table):
    return {row[0]: row[1:] for row in table.rows}


def test_drift_stands_beside_the_newest_and_the_oldest():
    table = drift_table({"a": 1.2, "new": 1.0}, [baseline(1, a=1.0), baseline(2, a=1.1)])
    assert cells(table) == {"`a`": ["1.2 s", "1.09x", "-", "1.2x"]}
    assert "2 earlier commits on NVIDIA H100, the newest of 2026-01-02" in table.title
    assert "Beside earlier commits" in comment(outcome({"a": 1.0}, {"a": 1.0}), SETTING, table)


def test_three_baselines_tell_how_far_runs_lie_apart():
    steady = [
        baseline(number, a=1.0 + shift, b=2.0 + 2 * shift) for number, shift in enumerate((0.0, 0.01, -0.01, 0.0), 1)
    ]
    low, high = map(
        float, re.fullmatch(r"\[(.*), (.*)\]", cells(drift_table({"a": 1.5, "b": 2.0}, steady))["`a`"][2]).groups()
    )
    assert 1.3 < low < 1.5 < high < 1.7
    assert cells(drift_table({"a": 1.5}, steady[:2]))["`a`"][2] == "-"


@pytest.mark.parametrize("earlier", [[], [baseline(1, other=1.0)]], ids=["none", "of other benchmarks"])
def test_without_earlier_medians_there_is_no_drift(earlier):
    assert drift_table({"a": 1.0}, earlier) is None
