from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from kfc_bench.commands.confirmation import LEAST, Regression
from kfc_bench.errors import UserError, UserInterrupt
from kfc_bench.report.verdicts import Verdict, fewest_pairs, parse_policy
from kfc_bench.results.bench_session import BenchSession
from kfc_bench.runner.sessions import Side

BASE, HEAD = (Side(name, name, name, Path("nowhere")) for name in ("base", "head"))
CUDA = {"device_kind": "cuda", "gpu": {"name": "NVIDIA H100"}, "driver": "570"}


class Fake:
    """Runs sessions by a rule: seconds of a test on a side in the first or second comparison."""

    def __init__(self, seconds, machine=None, breaks_off_after=None):
        self.seconds, self.machine, self.breaks_off_after = seconds, machine or {}, breaks_off_after
        self.calls = []
        self.noise = random.Random(0)

    def __call__(self, side, label, tests=None):
        if self.breaks_off_after == len(self.calls):
            raise KeyboardInterrupt
        self.calls.append((label, side.name, tests))
        times, failed = {}, {}
        for test, does in self.seconds(side.name, label.partition("-")[0]).items():
            if tests is None or test in tests:
                if isinstance(does, str):
                    failed[test] = does
                else:
                    times[test] = does * self.noise.gauss(1, 0.005)
        machine = self.machine(len(self.calls)) if callable(self.machine) else self.machine
        return BenchSession(times=times, failed=failed, machine=machine)


def measured(fake, sessions=None, policy="slower:5%"):
    lines = []
    regression = Regression(fake, BASE, HEAD, sessions, [parse_policy(policy)], 0.03, lines.append)
    outcome, rounds = regression.measured()
    assert all(lines)
    return outcome, rounds


def many(count, **slower):
    return {f"t{number}": 1.0 for number in range(count)} | slower


def test_equal_code_passes_after_one_comparison():
    fake = Fake(lambda *_: many(3))
    outcome, rounds = measured(fake)
    assert not outcome.failing
    assert not outcome.unconfirmed
    assert Counter(side for _, side, _ in fake.calls) == {"base": LEAST, "head": LEAST}
    assert len(rounds) == outcome.rounds == LEAST


def test_sides_take_turns_in_random_order():
    fake = Fake(lambda *_: many(1))
    measured(fake, sessions=40)
    firsts = Counter(side for _, side, _ in fake.calls[::2])
    assert {label: {side for other, side, _ in fake.calls if other == label} for label, *_ in fake.calls} == {
        f"first-{number:02d}": {"base", "head"} for number in range(1, 41)
    }
    assert min(firsts.values()) >= 10


def test_a_slowdown_is_measured_again_alone_and_then_fails():
    fake = Fake(lambda side, _: many(3, **({"t1": 1.2} if side == "head" else {})))
    outcome, _ = measured(fake)
    assert [entry.case_id for entry in outcome.failing] == ["t1"]
    assert {tuple(tests) for label, _, tests in fake.calls if label.startswith("second")} == {("t1",)}
    assert len(fake.calls) == 4 * LEAST


def test_a_slowdown_that_does_not_come_again_fails_nothing():
    fake = Fake(lambda side, which: many(3, **({"t1": 1.2} if (side, which) == ("head", "first") else {})))
    outcome, _ = measured(fake)
    assert not outcome.failing
    assert [entry.case_id for entry in outcome.unconfirmed] == ["t1"]


def test_what_broke_is_run_again_and_what_is_new_and_fails_on_the_head_alone():
    fake = Fake(lambda side, _: {"old": 1.0} if side == "base" else {"old": "TypeError", "new": "ValueError"})
    outcome, _ = measured(fake)
    assert {entry.case_id: entry.verdict for entry in outcome.failing} == dict.fromkeys(("old", "new"), Verdict.BROKEN)
    again = {side: tests for label, side, tests in fake.calls if label.startswith("second")}
    assert again == {"base": ["old"], "head": ["old", "new"]}


def test_a_base_without_benchmarks_needs_one_round():
    fake = Fake(lambda side, _: {} if side == "base" else many(2))
    outcome, _ = measured(fake)
    assert len(fake.calls) == 2
    assert set(outcome.first.new) == {"t0", "t1"}


@pytest.mark.parametrize("count", [1, 8, 100])
def test_sessions_that_could_not_tell_are_refused_and_as_many_as_needed_are_taken_unasked(count):
    few = fewest_pairs(count) - 1
    with pytest.raises(UserError, match=f"--sessions {few}: with {count} benchmarks .* {few + 1} sessions"):
        measured(Fake(lambda *_: many(count)), sessions=few)
    assert measured(Fake(lambda *_: many(count)))[0].rounds == max(LEAST, few + 3)


def test_a_head_without_benchmarks_is_refused():
    with pytest.raises(UserError, match=r"head \(head\): pytest --benchmark collected no benchmark"):
        measured(Fake(lambda side, _: many(2) if side == "base" else {}))


def test_times_of_two_devices_are_not_compared():
    other = {**CUDA, "driver": "575"}
    fake = Fake(lambda *_: many(1), machine=lambda call: CUDA if call < 5 else other)
    with pytest.raises(UserError, match=r"this session ran on NVIDIA H100, driver 575, those before on .* driver 570"):
        measured(fake)
    lost = {"device_kind": "cpu", "gpu": None}
    fake = Fake(lambda *_: many(1), machine=lambda call: CUDA if call < 5 else lost)
    with pytest.raises(UserError, match="this session ran on the CPU"):
        measured(fake)


def test_sessions_that_name_no_device_are_no_reason_to_refuse():
    fake = Fake(lambda *_: many(1), machine=lambda call: CUDA if call % 2 else {})
    assert measured(fake)[0].rounds == LEAST


def test_ctrl_c_keeps_whole_rounds():
    fake = Fake(lambda side, _: many(1, t0=1.2 if side == "head" else 1.0), breaks_off_after=15)
    outcome, rounds = measured(fake)
    assert outcome.interrupted
    assert len(rounds) == outcome.rounds == 7
    assert outcome.first.differences[0].verdict is Verdict.SLOWER


def test_ctrl_c_before_a_whole_round_has_nothing_to_keep():
    with pytest.raises(UserInterrupt, match="nothing can be said"):
        measured(Fake(lambda *_: many(1), breaks_off_after=1))


def test_noise_alone_fails_nothing():
    """Equal code whose sessions lie 30 % apart: of 400 such comparisons 6 found a slowdown, and none found it again."""
    alarms = Counter()
    for seed in range(100):
        noise = random.Random(seed)
        fake = Fake(lambda *_, noise=noise: {f"t{number}": noise.lognormvariate(0, 0.3) for number in range(8)})
        outcome, _ = measured(fake, policy="slower:5%")
        alarms.update(failing=bool(outcome.failing), again=bool(outcome.unconfirmed))
    assert alarms["failing"] == 0
    assert alarms["again"] <= 6
