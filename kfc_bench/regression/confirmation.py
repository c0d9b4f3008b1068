"""Measures two revisions in turn and judges them; what would fail is measured once more before it does."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kfc_bench.errors import UserError, UserInterrupt
from kfc_bench.report.differences import Difference, failing
from kfc_bench.report.regression import Outcome, Round, conclude, judge
from kfc_bench.report.verdicts import Policy, Verdict, fewest_pairs
from kfc_bench.runner.sessions import Side
from kfc_bench.runner.turns import RunSession, in_turn

SPARE = 2
LEAST = 10
"""Rounds unless the user says otherwise: so many more than the fewest that can tell, but no fewer than these."""


@dataclass(frozen=True)
class Regression:
    """How a comparison is made.

    Attributes:
        run: Runs a session.
        base: The revision that is compared with.
        head: The one that is judged.
        sessions: Sessions a side; None to have them derived from the number of benchmarks.
        policies: What fails a build.
        tolerance: Relative difference that does not matter.
        say: Takes a line about the progress.
    """

    run: RunSession
    base: Side
    head: Side
    sessions: int | None
    policies: Sequence[Policy]
    tolerance: float
    say: Callable[[str], None]

    def measured(self) -> tuple[Outcome, list[Round]]:
        """Measure and judge.

        Returns:
            The outcome, and the rounds of the first comparison. On Ctrl-C, of what was measured by then.

        Raises:
            UserError: A session did not come to its end, the head has no benchmark, or the sessions are too few.
            UserInterrupt: On Ctrl-C before the end of the first round.
        """
        order = random.Random(0)
        rounds: list[Round] = []
        again: list[Round] = []
        interrupted = False
        try:
            turns = in_turn(self.run, self.base, self.head, "first", order)
            self._take(turns, rounds, self._wanted)
            failed = failing(judge(rounds, self.tolerance).differences, self.policies)
            tests = {side.name: _known(failed, rounds, place) for place, side in enumerate((self.base, self.head))}
            if any(tests.values()):
                self.say(f"measured once more before anything fails: {', '.join(entry.case_id for entry in failed)}")
                turns = in_turn(self.run, self.base, self.head, "second", order, tests)
                self._take(turns, again, lambda _: len(rounds))
        except KeyboardInterrupt:
            interrupted = True
            if not rounds:
                raise UserInterrupt("interrupted before the end of the first round: nothing can be said") from None
        first = judge(rounds, self.tolerance)
        second = judge(again, self.tolerance) if again else None
        return conclude(first, second, self.policies, len(rounds), interrupted=interrupted), rounds

    def _take(self, turns: Iterator[Round], taken: list[Round], wanted: Callable[[Round], int]) -> None:
        start = time.monotonic()
        for each in turns:
            taken.append(each)
            total = wanted(taken[0])
            left = (time.monotonic() - start) / len(taken) * (total - len(taken))
            self.say(f"round {len(taken)} of {total}" + (f", about {left:.0f} s left" if left else ""))
            if len(taken) >= total:
                return

    def _wanted(self, first: Round) -> int:
        """Return how many rounds the benchmarks of the first one need."""
        base, head = first
        if not head.tests:
            raise UserError(
                f"{self.head}: pytest --benchmark collected no benchmark; name files or folders of bench_*.py"
            )
        cases = len(base.times.keys() & head.times.keys())
        if not cases:
            return 1
        fewest = fewest_pairs(cases)
        if self.sessions is None:
            return max(LEAST, fewest + SPARE)
        if self.sessions < fewest:
            raise UserError(
                f"--sessions {self.sessions}: with {cases} benchmarks no slowdown can be told from noise in fewer than "
                f"{fewest} sessions a side; leave it out for {max(LEAST, fewest + SPARE)}"
            )
        return self.sessions


def _known(failed: Sequence[Difference], rounds: Sequence[Round], place: int) -> list[str]:
    """List the tests to measure again on a side: those that it has."""
    tests = set().union(*(each[place].tests for each in rounds))
    return [entry.case_id for entry in failed if entry.verdict is not Verdict.MISSING and entry.case_id in tests]
