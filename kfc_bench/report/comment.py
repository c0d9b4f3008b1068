"""A comparison as a comment on a pull request: what fails first, the rest folded away."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from kfc_bench.report.differences import URGENCY, Difference, count_line
from kfc_bench.report.regression import Outcome
from kfc_bench.report.tables import TextTable
from kfc_bench.report.units import seconds, three

LONGEST = 60_000
"""Characters; GitHub takes 65,536 in a comment."""

AROUND = 400
"""Characters kept free for what stands around a table."""

LONGEST_REASON = 200
MOST_NAMED = 3
"""Benchmarks that the first line names."""


@dataclass(frozen=True)
class Setting:
    """What a comment says of how it came about.

    Attributes:
        name: Tells this comparison's comment from another's on the same pull request, and heads it.
        base: The base's commit.
        head: The head's commit, or what stands for it.
        policies: As the user wrote them.
        tolerance: Relative difference that does not matter.
        machine: pytest-benchmark's ``machine_info``.
        throttled: Visits that a throttled device spoiled; None if nothing counts them.
        changed: Bench files that are not the same on both sides.
        command: What repeats the comparison.
    """

    name: str
    base: str
    head: str
    policies: Sequence[str]
    tolerance: float
    machine: Mapping[str, Any]
    throttled: int | None
    changed: Sequence[str]
    command: str


def marker(name: str) -> str:
    """Return the comment's first line, which is not shown: by it the comment is found again and replaced."""
    return f"<!-- kfc-bench regression: {name} -->"


def code(text: str) -> str:
    """Set text as code on one line: no markup, no mention, no marker comes of it."""
    one_line = " ".join(re.sub(r"`", "'", text).split())
    return f"`{one_line[: LONGEST_REASON - 3] + '...' if len(one_line) > LONGEST_REASON else one_line}`"


def failure(name: str, reason: str) -> str:
    """Return the comment of a comparison that could not be made."""
    return f"{marker(name)}\n**{name}: the benchmarks could not be compared.**\n\n{code(reason)}\n"


def comment(outcome: Outcome, setting: Setting, drift: TextTable | None) -> str:
    """Write the comment.

    Args:
        outcome: What was found.
        setting: How.
        drift: Beside earlier commits; None where there are none.

    Returns:
        Markdown, short enough for GitHub: rows that do not fit are counted instead.
    """
    found = outcome.first.differences
    title = f"{marker(setting.name)}\n{headline(outcome, setting)}"
    parts = []
    if outcome.first.new:
        named = [f"{code(test)} {seconds(median)}" for test, median in outcome.first.new.items()]
        parts.append(f"New, so compared with nothing: {_some(named)}.")
    if outcome.first.untimed:
        named = [f"{code(test)} ({code(reason)})" for test, reason in outcome.first.untimed.items()]
        parts.append(f"No time on either side: {_some(named)}.")
    if setting.changed:
        files = _some([code(file) for file in setting.changed])
        parts.append(f"Not the same file on both sides, so the benchmark itself may differ: {files}.")
    ending = [_environment(outcome, setting), f"Again, on a machine of your own:\n\n```\n{setting.command}\n```"]
    seen = [
        _table(outcome.failing, outcome.second, "What fails"),
        _table(outcome.unconfirmed, outcome.second, "Not confirmed on a second run, so no failure"),
    ]
    folded: dict[str, TextTable | None] = {
        f"All of them: {count_line(found)}": _table(found, {}, "head against base"),
        "Beside earlier commits (nothing fails by this)": drift,
    }
    tables = _fitting([*seen, *folded.values()], LONGEST - sum(len(part) + 2 for part in [title, *parts, *ending]))
    folds = [
        f"<details><summary>{summary}</summary>\n\n{table}\n</details>"
        for summary, table in zip(folded, tables[len(seen) :], strict=True)
        if table
    ]
    whole = [title, *filter(None, tables[: len(seen)]), *parts, *folds, *ending]
    return "\n\n".join(part.strip() for part in whole) + "\n"


def headline(outcome: Outcome, setting: Setting) -> str:
    """Say in one sentence what came out."""
    found, policies = outcome.first.differences, ", ".join(setting.policies)
    broken_off = f" Broken off after {outcome.rounds} rounds." if outcome.interrupted else ""
    if outcome.failing:
        verb = "fails" if len(outcome.failing) == 1 else "fail"
        named = _some([f"{code(entry.case_id)} {_short(entry)}" for entry in outcome.failing])
        head = f"{len(outcome.failing)} of {len(found)} benchmarks {verb} the policy {policies}:"
        return f"**{setting.name}: {head}** {named}.{broken_off}"
    if not found:
        return f"**{setting.name}: nothing to compare.** The base has none of these benchmarks.{broken_off}"
    return f"**{setting.name}: no benchmark fails the policy {policies}.** {count_line(found)}.{broken_off}"


def _short(entry: Difference) -> str:
    return f"{three(entry.ratio.ratio)}x {entry.verdict}" if entry.ratio else str(entry.verdict)


def _some(named: Sequence[str]) -> str:
    rest = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return ", ".join(named[:MOST_NAMED]) + rest


def _table(entries: Sequence[Difference], second: Mapping[str, Difference], title: str) -> TextTable | None:
    if not entries:
        return None
    rows = []
    for entry in sorted(entries, key=lambda each: URGENCY.index(each.verdict)):
        row = [code(entry.case_id), seconds(entry.a_s), seconds(entry.b_s), _ratio(entry), str(entry.verdict)]
        if second:
            again = second.get(entry.case_id)
            row.append(f"{_ratio(again)} {again.verdict}" if again else "-")
        rows.append([*row, code(entry.reason) if entry.reason else ""])
    header = ["benchmark", "base", "head", "head / base [95 %]", "verdict", *(["second run"] if second else []), "why"]
    return TextTable(title, header, rows)


def _ratio(entry: Difference) -> str:
    if entry.ratio is None:
        return "-"
    interval = entry.ratio.interval()
    return f"{three(entry.ratio.ratio)}x" + (f" [{three(interval[0])}, {three(interval[1])}]" if interval else "")


def _fitting(tables: Sequence[TextTable | None], room: int) -> list[str]:
    """Write tables into so many characters: the first has half of them, each other an equal share of what is left."""
    written = []
    for place, table in enumerate(tables):
        others = len(list(filter(None, tables[place + 1 :])))
        share = room // (2 if place == 0 and others else 1 + others)
        written.append(_cut(table, share - AROUND) if table else "")
        room -= len(written[-1]) + AROUND if table else 0
    return written


def _cut(table: TextTable, room: int) -> str:
    """Leave out the last rows, where all would take more characters, and count them."""
    empty = replace(table, rows=[]).to_markdown()
    lines = table.to_markdown().removeprefix(empty).removesuffix("\n").split("\n")
    kept = bisect_right(list(accumulate(len(line) + 1 for line in lines)), room - len(empty))
    text = replace(table, rows=table.rows[:kept]).to_markdown()
    left = len(table.rows) - kept
    return f"{text}\n{left} more rows are left out; comparison.csv has all that was compared.\n" if left else text


def _environment(outcome: Outcome, setting: Setting) -> str:
    machine = setting.machine
    facts = [
        str(machine.get("device") or machine.get("machine") or "a machine that nothing timed names"),
        f"driver {machine['driver']}" if machine.get("driver") else None,
        f"torch {machine['torch']}" if machine.get("torch") else None,
        f"Python {machine['python_version']}" if machine.get("python_version") else None,
        f"{setting.throttled} visits on a throttled GPU" if setting.throttled else None,
    ]
    return (
        f"{setting.head[:9]} against {setting.base[:9]}, {outcome.rounds} sessions of each in turn; "
        f"differences under {100 * setting.tolerance:g} % do not matter. {', '.join(filter(None, facts))}."
    )
