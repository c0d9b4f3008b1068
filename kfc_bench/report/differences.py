"""Setting two runs side by side, case by case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kfc_bench.report.history import BetweenRuns
from kfc_bench.report.pairs import paired
from kfc_bench.report.tables import TextTable
from kfc_bench.report.units import seconds, three
from kfc_bench.report.verdicts import TOLERANCE, Policy, Ratio, StoredRatio, UnknownRatio, Verdict, verdicts
from kfc_bench.results.schema import Record

CONTESTANT = ("operator", "approximation", "phase", "implementation")
WHAT = (*CONTESTANT, "network", "layer", "batch", "dtype", "precision", "cache")
WITHIN_95 = 2 * 1.96

URGENCY = [
    Verdict.BROKEN,
    Verdict.SLOWER,
    Verdict.FASTER,
    Verdict.MENDED,
    Verdict.UNCLEAR,
    Verdict.SAME,
    Verdict.MISSING,
]


@dataclass(frozen=True)
class Difference:
    """One case in A and in B.

    Attributes:
        case_id: The case.
        what: Its describing columns, `WHAT`.
        a_s: Median in A, seconds; None where it has no time.
        b_s: Median in B.
        ratio: B over A; None where one of them has no time.
        verdict: What can be said.
        reason: Why there is no time, or why nothing can be said; empty otherwise.
    """

    case_id: str
    what: dict[str, Any]
    a_s: float | None
    b_s: float | None
    ratio: Ratio | None
    verdict: Verdict
    reason: str


def _seconds(record: Record) -> float | None:
    return record.get("time_median_s") if record["status"] == "ok" else None


def _log_variance(record: Record) -> float:
    """Variance of a run's own log median, from its interval over visits."""
    low, high = record.get("time_ci_low_s"), record.get("time_ci_high_s")
    return (math.log(high / low) / WITHIN_95) ** 2 if low and high else math.inf


def ratio_of(a: Record, b: Record, history: BetweenRuns | None) -> Ratio:
    """Estimate B's time over A's.

    Args:
        a: A record with a time.
        b: Another.
        history: How runs vary; None if not known.

    Returns:
        From pairs of visits where both were visited in turn, else from both medians with the between-run term; without
        one, a ratio that nothing can be said about.
    """
    in_turn = paired(a, b)
    if in_turn is not None:
        return in_turn
    ratio = b["time_median_s"] / a["time_median_s"]
    if history is None:
        return UnknownRatio(ratio)
    variance = 2 * history.variance(a["case_id"]) + _log_variance(a) + _log_variance(b)
    if not math.isfinite(variance) or variance == 0:
        return UnknownRatio(ratio)
    return StoredRatio(ratio, math.sqrt(variance), history.degrees)


def differences(
    a: Mapping[str, Record], b: Mapping[str, Record], history: BetweenRuns | None, tolerance: float = TOLERANCE
) -> list[Difference]:
    """Compare the cases of A with those of B.

    Args:
        a: Records by case.
        b: Records by case.
        history: How runs vary; None if not known.
        tolerance: Relative difference that does not matter.

    Returns:
        One difference per case that has a time in A, and per case in common that has one in B.
    """
    common = [(a[key], b[key]) for key in a if key in b]
    timed = [(x, y, ratio_of(x, y, history)) for x, y in common if _seconds(x) is not None and _seconds(y) is not None]
    judged = verdicts([ratio for *_, ratio in timed], tolerance)
    found = [
        _difference(x, y, ratio, verdict, _hint(ratio, history))
        for (x, y, ratio), verdict in zip(timed, judged, strict=True)
    ]
    for x, y in common:
        if (_seconds(x) is None) != (_seconds(y) is None):
            broken = _seconds(y) is None
            failed = y if broken else x
            verdict = Verdict.BROKEN if broken else Verdict.MENDED
            found.append(_difference(x, y, None, verdict, f"{failed['status']}: {failed.get('reason')}"))
    missing = [a[key] for key in a if key not in b and _seconds(a[key]) is not None]
    return found + [_difference(x, x | {"status": "missing"}, None, Verdict.MISSING, "not in B") for x in missing]


def _difference(a: Record, b: Record, ratio: Ratio | None, verdict: Verdict, reason: str) -> Difference:
    what = {name: b.get(name) for name in WHAT}
    return Difference(b["case_id"], what, _seconds(a), _seconds(b), ratio, verdict, reason)


def _hint(ratio: Ratio, history: BetweenRuns | None) -> str:
    if not isinstance(ratio, UnknownRatio):
        return ""
    return "no history of repeated runs" if history is None else "too few visits for an interval"


def failing(found: Sequence[Difference], policies: Sequence[Policy]) -> list[Difference]:
    """Return the differences that fail a build under any of the policies."""
    return [
        difference
        for difference in found
        if any(
            policy.fails(difference.verdict, difference.ratio.ratio if difference.ratio else math.inf)
            for policy in policies
        )
    ]


def to_frame(found: Sequence[Difference], what: Sequence[str] = WHAT) -> pd.DataFrame:
    """Return one row per difference: what it is, both medians, ratio with its interval, verdict, reason."""
    rows = []
    for difference in found:
        low, high = (difference.ratio.interval() if difference.ratio else None) or (math.nan, math.nan)
        rows.append(
            {
                "case_id": difference.case_id,
                **difference.what,
                "a_s": difference.a_s,
                "b_s": difference.b_s,
                "ratio": difference.ratio.ratio if difference.ratio else math.nan,
                "ratio_low": low,
                "ratio_high": high,
                "verdict": str(difference.verdict),
                "reason": difference.reason,
            }
        )
    columns = ["case_id", *what, "a_s", "b_s", "ratio", "ratio_low", "ratio_high", "verdict", "reason"]
    return pd.DataFrame(rows, columns=columns)


def to_table(found: Sequence[Difference], title: str) -> TextTable:
    """Return the differences as a table for people, what matters most first."""
    rows = []
    for difference in sorted(found, key=lambda entry: URGENCY.index(entry.verdict)):
        interval = difference.ratio.interval() if difference.ratio else None
        rows.append(
            [
                " ".join(str(value) for value in difference.what.values() if value is not None),
                seconds(difference.a_s),
                seconds(difference.b_s),
                three(difference.ratio.ratio) if difference.ratio else "-",
                f"[{three(interval[0])}, {three(interval[1])}]" if interval else "-",
                str(difference.verdict),
                difference.reason,
            ]
        )
    return TextTable(title, ["case", "A", "B", "B / A", "95 % interval", "verdict", "why"], rows)


def render(found: Sequence[Difference], title: str, form: str) -> str:
    """Return the differences as text: ``"terminal"``, ``"markdown"`` or ``"csv"``."""
    if form == "csv":
        return to_frame(found).to_csv(index=False, lineterminator="\n")
    table = to_table(found, title)
    return table.to_markdown() if form == "markdown" else table.to_text()


def count_line(found: Sequence[Difference]) -> str:
    """Count the differences by verdict."""
    counts = {verdict: sum(entry.verdict is verdict for entry in found) for verdict in Verdict}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "no case to compare"
