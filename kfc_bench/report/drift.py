"""How far the benchmarks have moved from what the main branch took before: to read, not to fail on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kfc_bench.report.history import BetweenRuns, Medians, between_runs
from kfc_bench.report.tables import TextTable
from kfc_bench.report.units import ratio, seconds, three
from kfc_bench.report.verdicts import StoredRatio
from kfc_bench.results.baselines import Baseline


def drift_table(now: Medians, baselines: Sequence[Baseline]) -> TextTable | None:
    """Set medians beside those of earlier commits.

    The interval is that of the ratio to the newest baseline, where three or more tell how far a run of the main
    branch lies from the next, its commits' own changes included.

    Args:
        now: Median seconds by benchmark.
        baselines: Of the same model, oldest first.

    Returns:
        A row for each benchmark that the newest baseline has; None if there is none.
    """
    if not baselines or not now.keys() & baselines[-1].medians.keys():
        return None
    newest, oldest = baselines[-1], baselines[0]
    between = between_runs([[baseline.medians for baseline in baselines]])
    rows = []
    for benchmark, median in now.items():
        before = newest.medians.get(benchmark)
        if before is not None:
            first = oldest.medians.get(benchmark)
            rows.append(
                [
                    f"`{benchmark}`",
                    seconds(median),
                    ratio(median / before),
                    _interval(benchmark, median / before, between),
                    ratio(median / first if first else None),
                ]
            )
    header = ["benchmark", "head", f"/ {newest.commit[:9]}", "95 % interval", f"/ {oldest.commit[:9]}"]
    title = f"Against {len(baselines)} earlier commits on {newest.model}, the newest of {newest.measured[:10]}"
    return TextTable(title, header, rows)


def _interval(benchmark: str, against: float, between: BetweenRuns | None) -> str:
    variance = 2 * between.variance(benchmark) if between else 0.0
    if between is None or variance <= 0:
        return "-"
    low, high = StoredRatio(against, math.sqrt(variance), between.degrees).interval()
    return f"[{three(low)}, {three(high)}]"
