"""The rule on overheads: what an epoch of KFC-pre costs beside SGD's (Appendix B.3)."""

from __future__ import annotations

import pandas as pd

from kfc_bench.report.paper.evidence import Evidence, newest
from kfc_bench.report.paper.reference import Item
from kfc_bench.report.paper.verdicts import Claim, Finding, Verdict, judge
from kfc_bench.report.units import seconds, three

NETWORK = "cifar10"
KFC_BATCH, SGD_BATCH, CLIP = 512, 128, 0.3
PERIODS = "statistics_every == 10 and inverses_every == 20"
"""Of the suite's KFC-pre; profiles of other periods cost another step."""

MOST = 2
"""An epoch of KFC costs less than twice SGD's in the paper."""


def epoch_cost(evidence: Evidence, _item: Item) -> Finding:
    """Judge seconds per example from profiled steps, statistics and inverses amortised over their periods.

    Args:
        evidence: The results.
        _item: The paper's.

    Returns:
        The finding.
    """
    profiles = evidence.results.profiles.query("network == @NETWORK and status == 'ok'")
    kfc = newest(profiles.query("approximation == 'kfc' and clip == @CLIP and batch == @KFC_BATCH").query(PERIODS))
    sgd = profiles[profiles["run_id"].isin(kfc["run_id"])].query("approximation == 'sgd' and batch == @SGD_BATCH")
    if kfc.empty or sgd.empty:
        return Finding(Verdict.NOT_RUN, reason=f"no profile of {NETWORK} at both batches")
    ours, base = kfc.iloc[0], sgd.iloc[0]
    ratio = _per_example(ours, "step_s") / _per_example(base, "step_s")
    low = _per_example(ours, "step_ci_low_s") / _per_example(base, "step_ci_high_s")
    high = _per_example(ours, "step_ci_high_s") / _per_example(base, "step_ci_low_s")
    setting = (
        f"{NETWORK}, steps of {seconds(ours['step_s'])} and {seconds(base['step_s'])}, statistics every "
        f"{ours['statistics_every']:.0f} and inverses every {ours['inverses_every']:.0f} steps; {evidence.device(kfc)}"
    )
    words = f"an epoch of KFC-pre over SGD's is below {MOST}"
    claims = [
        Claim(f"{words} by medians: {three(ratio)}", ratio < MOST),
        Claim(f"{words} by the far ends of the intervals: [{three(low)}, {three(high)}]", high < MOST),
    ]
    return judge(claims, setting, tuple(kfc["run_id"]))


def _per_example(step: pd.Series[float], column: str) -> float:
    return float(step[column] / step["batch"])
