"""The rules that verdicts are made by: each a function of the numbers."""

from __future__ import annotations

from collections.abc import Callable

from kfc_bench.report.paper.evidence import Evidence
from kfc_bench.report.paper.reference import Item
from kfc_bench.report.paper.rules.correlations import CORRELATION_RULES
from kfc_bench.report.paper.rules.epoch_cost import epoch_cost
from kfc_bench.report.paper.rules.levels import levels
from kfc_bench.report.paper.rules.networks import batch_norm_error, batch_norm_loss, batches
from kfc_bench.report.paper.rules.speed import curves, others
from kfc_bench.report.paper.verdicts import Finding, Verdict


def _tests(_evidence: Evidence, _item: Item) -> Finding:
    return Finding(Verdict.HELD)


def _absent(_evidence: Evidence, _item: Item) -> Finding:
    return Finding(Verdict.NOT_RUN, reason="the method is not built")


RULES: dict[str, Callable[[Evidence, Item], Finding]] = {
    "tests": _tests,
    "absent": _absent,
    "curves": curves,
    "levels": levels,
    "others": others,
    "batches": batches,
    "batch_norm_error": batch_norm_error,
    "batch_norm_loss": batch_norm_loss,
    "epoch_cost": epoch_cost,
    **CORRELATION_RULES,
}
"""By the names that `reference.toml` gives them."""
