"""Results made by hand: trials whose curves are one another's, faster or higher."""

from pathlib import Path

from kfc_bench.report.paper.evidence import Evidence
from kfc_bench.report.paper.reference import reference
from kfc_bench.report.paper.rules import RULES
from kfc_bench.results.frames import to_frames
from tests.helpers import cost_record, trial_record

ENVIRONMENTS = {"env1": {"device": "a device", "device_kind": "cuda"}}
FALL = ((0, 0.9), (10, 0.5), (20, 0.3), (30, 0.15), (40, 0.05))
"""A curve at speed 1: seconds and value. Scaled in time, it reaches every level so many times earlier."""

METRICS = ("train_loss", "train_error", "validation_error", "test_loss", "test_error")
SEEDS = 4


def curve(speed, lift=0.0):
    return [
        {"step": time * 100 / speed, "seconds": time / speed, "epoch": time, **dict.fromkeys(METRICS, value + lift)}
        for time, value in FALL
    ]


def trials(section, optimizer, speed, lift=0.0, seeds=SEEDS, **own):
    """One trial a seed, each a little faster than the one before, so that there is an interval."""
    key = f"{section} {optimizer} {own}"
    base = {"section": section, "problem": "fashion32", "target_metric": "error", "target_value": 0.2, **own}
    return [
        trial_record(
            optimizer, seed, 100, 1.0, **{**base, "case_id": f"{key} {seed}", "curve": curve(speed * 1.01**seed, lift)}
        )
        for seed in range(seeds)
    ]


def evidence_of(records):
    return Evidence(to_frames(records, ENVIRONMENTS), {"run1": Path("results/made").resolve()})


def item_of(key):
    (found,) = [item for item in reference().items if item.key == key]
    return found


def finding_of(key, records):
    item = item_of(key)
    return RULES[item.rule](evidence_of(records), item)


def profile(approximation, batch, step, **own):
    spread = {"step_ci_low_s": 0.95 * step, "step_ci_high_s": 1.05 * step}
    base = {"case_id": f"{approximation} {batch} {own}", "experiment": "profile", "network": "cifar10", "step_s": step}
    values = {"approximation": approximation, "batch": batch, "statistics_every": 10, "inverses_every": 20}
    return cost_record(**{**base, **spread, **values, **own})


def correlation(problem, network, layers):
    """One record; `layers` gives by layer and quantity the pooling, and what every number is multiples of."""
    rows = [
        {
            "layer": layer,
            "quantity": quantity,
            "pooling": pooling,
            "neighbour": size,
            "second": size / 2,
            "mean": size / 4,
            "cross_mean": size / 3,
            "cross_p95": size,
        }
        for (layer, quantity), (pooling, size) in layers.items()
    ]
    base = {"case_id": f"{problem} {network}", "experiment": "correlation", "problem": problem, "network": network}
    record = cost_record(**base, seed=0, epochs=50, rows=rows)
    return {name: value for name, value in record.items() if name not in ("batch", "dtype", "precision")}
