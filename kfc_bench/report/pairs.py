"""The ratio of two records that were visited in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfc_bench.measure.paired import FEWEST_PAIRS, PairedRatio


def _rounds(record: Mapping[Any, Any]) -> tuple[int, int]:
    """Return the first round that counts and the one after the last; what was timed again lost its first ones."""
    last = int(record["last_round"])
    return last + 1 - len(record["visit_medians_s"]), last + 1


def paired(base: Mapping[Any, Any], other: Mapping[Any, Any]) -> PairedRatio | None:
    """Pair the visits of two records by the round they were taken in.

    Args:
        base: A record, or a row of the cost frame.
        other: Another.

    Returns:
        Other time over base time; None if they were not visited in turn, or in fewer than `FEWEST_PAIRS` rounds.
    """
    group = base.get("visit_group")
    if not isinstance(group, str) or group != other.get("visit_group"):
        return None
    if not all(isinstance(record.get("visit_medians_s"), list) for record in (base, other)):
        return None
    (base_first, base_end), (other_first, other_end) = _rounds(base), _rounds(other)
    first, end = max(base_first, other_first), min(base_end, other_end)
    if end - first < FEWEST_PAIRS:
        return None
    return PairedRatio(
        base["visit_medians_s"][first - base_first : end - base_first],
        other["visit_medians_s"][first - other_first : end - other_first],
    )
