"""What one session of ``pytest --benchmark`` came to: a time, a failure or a reason to skip, by test."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from kfc_bench.errors import UserError

NO_BENCHMARK = "Skipping non-benchmark"
"""How pytest-benchmark begins its reason to skip what is no benchmark, under ``--benchmark-only``."""


NODE_ID = "kfc_bench_node_id"
"""Property of a test in ``--junitxml``'s file: what pytest writes by itself names the file that its code stands in."""


@dataclass(frozen=True)
class BenchSession:
    """One session.

    Attributes:
        times: Median of a benchmark's rounds in seconds, by node id, of tests that passed.
        failed: Why a test failed, by node id.
        skipped: Why a test was skipped, by node id.
        machine: pytest-benchmark's ``machine_info``; empty where nothing was timed.
        throttled: Visits that a throttled device spoiled, as far as they are counted; None if nothing counts them.
        imported: File of each package and module that lies in no other; empty where nothing was timed.
    """

    times: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    throttled: int | None = None
    imported: Mapping[str, str] = field(default_factory=dict)

    @property
    def tests(self) -> set[str]:
        """Node ids of all its benchmarks."""
        return {*self.times, *self.failed, *self.skipped}


def read_bench_session(benchmarks: Path, outcomes: Path) -> BenchSession:
    """Read what a session left behind.

    Args:
        benchmarks: ``--benchmark-json``'s file; absent if nothing was timed.
        outcomes: ``--junitxml``'s file, in the form ``xunit1``, with the node ids that ``pytest --benchmark`` adds.

    Returns:
        The session. A test that failed has no time, whatever was measured before.

    Raises:
        UserError: A file is not what pytest writes.
    """
    try:
        failed, skipped = _outcomes(ElementTree.parse(outcomes))
        content = json.loads(benchmarks.read_bytes()) if benchmarks.exists() else {"benchmarks": []}
        medians = {entry["fullname"]: float(entry["stats"]["median"]) for entry in content["benchmarks"]}
        throttled = [(entry.get("extra_info") or {}).get("throttled_visits") for entry in content["benchmarks"]]
        machine, imported = (content.get(name) or {} for name in ("machine_info", "imported"))
    except (OSError, ValueError, KeyError, TypeError, ElementTree.ParseError) as error:
        raise UserError(f"{outcomes.with_suffix('')}: pytest left no results to read there: {error}") from None
    for test, median in medians.items():
        if not (math.isfinite(median) and median > 0):
            failed.setdefault(test, f"its median of {median} s is no time")
    counted = [count for count in throttled if count is not None]
    return BenchSession(
        times={test: median for test, median in medians.items() if test not in failed},
        failed=failed,
        skipped=skipped,
        machine=machine,
        throttled=sum(counted) if counted else None,
        imported=imported,
    )


def _outcomes(tree: ElementTree.ElementTree[Any]) -> tuple[dict[str, str], dict[str, str]]:
    failed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for case in tree.iter("testcase"):
        for kind, found in (("failure", failed), ("error", failed), ("skipped", skipped)):
            outcome = case.find(kind)
            if outcome is not None:
                reason = next(iter(outcome.get("message", "").splitlines()), "") or kind
                if not (kind == "skipped" and reason.startswith(NO_BENCHMARK)):
                    found.setdefault(_node_id(case), reason)
    return failed, skipped


def _node_id(case: ElementTree.Element) -> str:
    """Return a test's node id; the file of what is none, such as a module that could not be collected."""
    told = case.find(f"properties/property[@name='{NODE_ID}']")
    return case.get("file", "") if told is None else told.get("value", "")
