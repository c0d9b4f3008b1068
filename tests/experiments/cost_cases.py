"""Cost cases, and records as the journal would hold them."""

from __future__ import annotations

from typing import Any

from kfc_bench.experiments.base import Case
from kfc_bench.experiments.cost.case import CostCase
from kfc_bench.measure.visits import StoppingRule
from kfc_bench.results.schema import COMMON, Record, check_record
from kfc_kernels import ConvGeometry

PLAIN = ConvGeometry.conv(3, 4, (6, 5), 3, padding=1, bias=True)
GROUPED = ConvGeometry.conv(4, 4, (5, 5), (3, 2), stride=2, groups=2)
QUICK = StoppingRule(least_visits=6, most_visits=6)


def cost_case(**values: Any) -> CostCase:
    """Make a case on the plain layer; a network's name takes the layer's place."""
    network = values.get("network")
    return CostCase(
        **{
            "operator": None,
            "approximation": None,
            "phase": None,
            "implementation": "auto",
            "network": None,
            "layer": None if network else "plain",
            "geometry": None if network else PLAIN,
            "batch": 8,
            "fisher": "mc",
            "dtype": "float32",
            "precision": "ieee",
            "device": "cpu",
            "cache": "hot",
            "damping": 0.1,
            "statistics_every": 2,
            "inverses_every": 4,
            "rule": QUICK,
            "timeout_s": 10.0,
            "memory_limit_bytes": None,
            **values,
        }
    )


def journalled(case: Case, record: Record) -> Record:
    """Join a case's columns and its record, and hold them to the schema."""
    common = dict.fromkeys(COMMON, "x") | {"experiment": case.experiment, "case_id": case.case_id}
    whole = {**common, **case.columns(), **record}
    check_record(whole)
    return whole
