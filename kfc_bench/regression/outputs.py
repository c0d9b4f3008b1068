"""What ``kfc-bench regression`` leaves behind: the comment, the table, the head's medians."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfc_bench.errors import UserError
from kfc_bench.report.comment import Setting, comment
from kfc_bench.report.differences import to_frame
from kfc_bench.report.drift import drift_table
from kfc_bench.report.files import write_text
from kfc_bench.report.regression import Outcome, Round
from kfc_bench.results.baselines import Baseline, baseline_path, model_of, read_baselines
from kfc_bench.runner.sessions import Side

COMMENT, COMPARISON, SESSIONS = "comment.md", "comparison.csv", "sessions"
MADE = ("json", "xml", "log")


def clear(out: Path) -> None:
    """Remove what an earlier comparison left in a folder, so that nothing of it is taken for this one's.

    Args:
        out: The folder; it need not exist.

    Raises:
        UserError: It is no folder, or nothing can be removed from it.
    """
    try:
        for path in (out / COMMENT, out / COMPARISON):
            path.unlink(missing_ok=True)
        for kind in MADE:
            for path in (out / SESSIONS).glob(f"*-[0-9]*-*.{kind}"):
                path.unlink()
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; name another folder with --out") from None


def changed_files(rounds: Sequence[Round], base: Side, head: Side) -> list[str]:
    """List the bench files that both sides have and that are not the same on both."""
    tests = [set().union(*(each[place].tests for each in rounds)) for place in (0, 1)]
    files = sorted({test.partition("::")[0] for test in tests[0] & tests[1]})
    there = [(file, base.folder / file, head.folder / file) for file in files]
    return [
        file for file, old, new in there if old.is_file() and new.is_file() and old.read_bytes() != new.read_bytes()
    ]


def machine_of(rounds: Sequence[Round]) -> Mapping[str, Any]:
    """Return the ``machine_info`` that says most: of a session that imported torch, if any did."""
    told = [session.machine for each in rounds for session in each if session.machine]
    return next((machine for machine in told if machine.get("torch")), told[0] if told else {})


def throttled_in(rounds: Sequence[Round]) -> int | None:
    """Count the throttled visits of all sessions; None if nothing counts them."""
    counted = [session.throttled for each in rounds for session in each if session.throttled is not None]
    return sum(counted) if counted else None


def medians_of_head(rounds: Sequence[Round]) -> dict[str, float]:
    """Return the head's median over sessions, in seconds, of the benchmarks that every session timed."""
    sessions = [head for _, head in rounds]
    everywhere = [test for test in sessions[0].times if all(test in session.times for session in sessions)]
    return {test: statistics.median(session.times[test] for session in sessions) for test in everywhere}


def write_outputs(
    outcome: Outcome, rounds: Sequence[Round], setting: Setting, out: Path, baselines: Path | None, *, keep: bool
) -> list[Path]:
    """Write the comment and the table, and add to the baselines.

    Args:
        outcome: What was found.
        rounds: The rounds of the first comparison.
        setting: How.
        out: The folder for comment and table.
        baselines: Folder of earlier medians; None for none.
        keep: Whether the head's medians are added to it.

    Returns:
        The files written.

    Raises:
        UserError: One cannot be written.
    """
    now, model = medians_of_head(rounds), model_of(setting.machine)
    earlier = read_baselines(baselines, setting.name, model, without=setting.head) if baselines else []
    written = {
        out / COMMENT: comment(outcome, setting, drift_table(now, earlier)),
        out / COMPARISON: to_frame(outcome.first.differences, ("benchmark",)).to_csv(index=False, lineterminator="\n"),
    }
    if keep and baselines and now and not outcome.interrupted:
        facts = {name: setting.machine.get(name) for name in ("device", "driver", "torch", "python_version")}
        baseline = Baseline(setting.head, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", model, facts, now)
        written[baseline_path(baselines, setting.name, model, setting.head)] = baseline.to_json()
    for path, text in written.items():
        write_text(text, path)
    return list(written)
