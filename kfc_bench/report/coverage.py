"""What was asked for, how far it got, and what went wrong."""

from __future__ import annotations

import pandas as pd

from kfc_bench.report.names import described, what_ran
from kfc_bench.report.tables import TextTable
from kfc_bench.report.units import three
from kfc_bench.results.frames import Results
from kfc_bench.results.schema import STATUSES
from kfc_bench.results.session import Session

MOST_REASONS = 40
MOST_ALIKE = 3


def _all_cases(results: Results) -> pd.DataFrame:
    """Join all experiments' records, with a few words for what each case was."""
    cost, trials, inverses, profiles = results.cost, results.trials, results.inverses, results.profiles
    kind = cost["implementation"].fillna("-").map(described)
    where = cost["layer"].astype(object).where(cost["layer"].notna(), cost["network"])
    place = where.astype(str) + ", batch " + cost["batch"].astype(str)
    columns = ["section", "experiment", "status", "reason", "predicted_bytes", "predicted_call_s"]
    measured = cost[columns].assign(what=what_ran(cost) + ", " + kind, place=place)
    trained = trials[columns[:4]].assign(
        what="training with " + trials["optimizer"].astype(str), place="seed " + trials["seed"].astype(str)
    )
    size, family = inverses["size"].astype(str), inverses["family"].astype(object)
    inverted = inverses[columns[:4]].assign(
        what="damped_inverse, " + inverses["implementation"].astype(str),
        place="size " + size + ", " + family.where(family.notna(), inverses["layer"]).astype(str),
    )
    profiled = profiles[columns[:4]].assign(
        what="profile of " + profiles["approximation"].astype(str),
        place=profiles["network"].astype(str) + ", batch " + profiles["batch"].astype(str),
    )
    networks = results.fidelity.drop_duplicates(["run_id", "case_id"])
    compared = networks[columns[:4]].assign(
        what="fidelity on " + networks["network"].astype(str),
        place="seed " + networks["seed"].astype(str) + ", epoch " + networks["epoch"].astype(str),
    )
    looked_at = results.correlation.drop_duplicates(["run_id", "case_id"])
    correlated = looked_at[columns[:4]].assign(
        what="correlation of " + looked_at["network"].astype(str),
        place="seed " + looked_at["seed"].astype(str) + ", " + looked_at["epochs"].astype(str) + " epochs",
    )
    filled = [frame for frame in (measured, trained, inverted, profiled, compared, correlated) if not frame.empty]
    return pd.concat(filled or [measured], ignore_index=True).reindex(columns=[*columns, "what", "place"])


def sections_table(results: Results, session: Session | None) -> TextTable:
    """Count each section's cases by status, and those not reached.

    Args:
        results: What was measured.
        session: What was asked for, if known.

    Returns:
        The table.
    """
    cases = _all_cases(results)
    asked = session.sections if session is not None else {}
    present = [status for status in STATUSES if (cases["status"] == status).any()]
    rows = []
    for name in dict.fromkeys([*asked, *cases["section"]]):
        own = cases[cases["section"] == name]
        counts = own["status"].value_counts()
        total, finished = asked.get(name, (len(own), len(own)))
        rows.append([str(name), str(total), *(str(counts.get(status, 0)) for status in present), str(total - finished)])
    return TextTable("Sections", ["section", "cases", *present, "not reached"], rows)


def reasons_table(results: Results) -> TextTable | None:
    """List why cases are not ``ok``, those whose reasons differ in numbers alone together.

    Args:
        results: What was measured.

    Returns:
        The table; None where all is well.
    """
    cases = _all_cases(results)
    cases = cases[cases["status"] != "ok"]
    if cases.empty:
        return None
    reason = (
        cases["reason"]
        .fillna("no reason was recorded")
        .mask(pd.to_numeric(cases["predicted_bytes"]) > 0, "predicted to need more memory than the limit: not tried")
        .mask(pd.to_numeric(cases["predicted_call_s"]) > 0, "predicted to take longer than the limit: not tried")
    )
    alike = reason.str.replace(r"\d+(\.\d+)?(e[+-]?\d+)?", "0", regex=True)
    groups = list(cases.assign(reason=reason, alike=alike).groupby(["status", "alike"], sort=False))
    rows = [
        [
            str(status),
            str(group["reason"].iloc[0]),
            str(len(group)),
            f"{group['what'].iloc[0]}, {group['place'].iloc[0]}",
            _listed(list(dict.fromkeys(group["what"]))[1:]),
        ]
        for (status, _), group in groups[:MOST_REASONS]
    ]
    part = "" if len(groups) <= MOST_REASONS else f", the first {MOST_REASONS} of {len(groups)} kinds"
    return TextTable(f"Not ok, and why{part}", ["status", "reason", "cases", "first", "also"], rows)


def _listed(words: list[str]) -> str:
    rest = f" and {len(words) - MOST_ALIKE} more" if len(words) > MOST_ALIKE else ""
    return "; ".join(words[:MOST_ALIKE]) + rest if words else "-"


def missing_lines(session: Session | None) -> list[str]:
    """Say in whole sentences what is not there.

    Args:
        session: What was asked for, if known.

    Returns:
        One sentence each; none where nothing is missing.
    """
    if session is None:
        return ["What was asked for is not recorded, so that what is missing cannot be told."]
    lines = []
    if session.ended == "time limit" and session.time_limit_s is not None:
        lines.append(f"The time limit of {three(session.time_limit_s)} s had passed before everything was done.")
    elif session.ended == "interrupted":
        lines.append("The run was interrupted before everything was done.")
    elif session.ended == "cut off":
        lines.append("The run was cut off, or goes on still: what is counted as not reached may have been since.")
    unfinished = {name: (total - done, total) for name, (total, done) in session.sections.items() if total > done}
    if unfinished:
        listed = ", ".join(f"{name} ({left} of {total})" for name, (left, total) in unfinished.items())
        lines.append(
            f"Not reached: {session.not_reached} cases; by section: {listed}. The same command goes on with them."
        )
    return lines
