"""Results folders made by hand: what is in them is known to the last digit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kfc_bench.results.journal import Journal
from kfc_bench.results.run import Run, open_run
from kfc_bench.results.schema import SCHEMA, Record

ENVIRONMENT = {
    "device": "Test [CPU], 2 threads",
    "device_kind": "cpu",
    "driver": None,
    "torch": "2.13.0",
    "triton": "3.7.1",
    "code": "0123456789abcdef",
    "commit": "89abcdef01234567",
}
COMMON = {"schema": SCHEMA, "device": "cpu", "status": "ok", "reason": None}
SECONDS = {"sgd": 0.001, "kfc": 0.002, "diagonal": 0.004, "block_diagonal": 0.008, "exact": 0.016}


def cost(approximation: str, phase: str, batch: int, **changes: Any) -> Record:
    """A cost record: time grows with the batch, the interval reaches 10 % to both sides."""
    time = SECONDS.get(approximation, 0.032) * batch / 64
    place = {"network": "digits"} if phase == "step" else {"layer": "digits.conv2"}
    return {
        **COMMON,
        "experiment": "cost",
        "section": "cost",
        "approximation": approximation,
        "implementation": "reference",
        "phase": phase,
        "batch": batch,
        "dtype": "float32",
        "precision": "ieee",
        "time_median_s": time,
        "time_ci_low_s": 0.9 * time,
        "time_ci_high_s": 1.1 * time,
        "peak_memory_bytes": 2**20 * batch,
        "predicted_bytes": None,
        "suspect": False,
        **place,
        **changes,
    }


def trial(optimizer: str, role: str, seed: int, reached: int | None, number: int = 0, **changes: Any) -> Record:
    """A trial whose error halves from one evaluation to the next; errors and seconds grow with the seed."""
    report = role == "report"
    errors = [0.8 * 0.5**index * (1 + seed / 10) for index in range(5)]
    curve = [
        {
            "step": 10 * index,
            "epoch": index / 2,
            "seconds": index * (1 + seed / 10),
            "train_loss": 2 * error,
            "train_error": error,
            "validation_loss": 2 * error,
            "validation_error": error,
            "test_loss": 2 * error if report else None,
            "test_error": error if report else None,
        }
        for index, error in enumerate(errors)
    ]
    return {
        **COMMON,
        "experiment": "convergence",
        "section": "convergence",
        "problem": "digits",
        "network": "digits",
        "optimizer": optimizer,
        "role": role,
        "trial": number,
        "seed": seed,
        "batch": 64,
        "steps": 40,
        "lr": 0.1 * 3**number,
        "momentum": 0.9,
        "damping": None if optimizer == "sgd" else 0.01,
        "weight_decay": 0.0,
        "on_edge": optimizer == "kfc" if report else None,
        "target_metric": "error",
        "target_value": 0.25,
        "steps_to_target": reached,
        "seconds_to_target": None if reached is None else reached / 10,
        "seconds": 4 * (1 + seed / 10),
        "final_train_loss": 0.1,
        "final_validation_error": errors[-1],
        "final_test_error": errors[-1] if report else None,
        "curve": curve,
        **changes,
    }


COSTS = [
    *(cost(name, "step", batch) for name in SECONDS for batch in (64, 256)),
    *(cost(name, "accumulate", batch) for name in ("kfc", "diagonal") for batch in (16, 64)),
    cost("diagonal", "refresh", 16, peak_memory_bytes=0),
    cost("kfc", "refresh", 16, status="wrong", reason="error 1e-3", time_median_s=None, peak_memory_bytes=None),
    cost(
        "exact",
        "accumulate",
        64,
        status="unsupported",
        reason="predicted to need 4.00 GiB, the limit is 2.00 GiB",
        time_median_s=None,
        peak_memory_bytes=None,
        predicted_bytes=2**32,
    ),
]
TRIALS = [
    *(trial(name, "tuning", 0, 30, number) for name in ("sgd", "kfc") for number in (0, 1)),
    trial("kfc", "tuning", 0, None, 2, status="diverged", reason="step 1: the loss is nan", curve=[]),
    *(trial("sgd", "report", seed, 30) for seed in (1, 2, 3)),
    *(trial("kfc", "report", seed, reached) for seed, reached in ((1, 20), (2, 20), (3, None))),
    *(trial("exact", "report", seed, reached) for seed, reached in ((1, 20), (2, None), (3, None))),
]


def open_folder(root: Path, **changes: Any) -> Run:
    """Begin a run, described by `ENVIRONMENT` and changes to it."""
    return open_run(root, {**ENVIRONMENT, **changes}, fresh=True)[0]


def write_run(root: Path, records: list[Record] | None = None, **changes: Any) -> Path:
    """Write a run, by default `COSTS` and `TRIALS`, and return the results folder."""
    run = open_folder(root, **changes)
    with Journal(run.journal) as journal:
        for number, record in enumerate(COSTS + TRIALS if records is None else records):
            identity = {"run_id": run.run_id, "env_id": run.environment["env_id"], "case_id": f"{number:016x}"}
            journal.append({**record, **identity})
    return root
