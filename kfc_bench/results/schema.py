"""What a record holds."""

from __future__ import annotations

from typing import Any, Literal, get_args

SCHEMA = 1

Status = Literal["ok", "wrong", "oom", "timeout", "crashed", "diverged", "unsupported"]
STATUSES: tuple[Status, ...] = get_args(Status)
RETRIED: tuple[Status, ...] = ("timeout", "crashed")
"""Tried once more; every other status is final."""

Record = dict[str, Any]

COMMON = ("schema", "run_id", "env_id", "case_id", "experiment", "section")

COST_COLUMNS = (
    *COMMON,
    "device",
    "operator",
    "network",
    "layer",
    "approximation",
    "implementation",
    "fisher",
    "phase",
    "clip",
    "in_channels",
    "out_channels",
    "size",
    "kernel",
    "stride",
    "padding",
    "dilation",
    "groups",
    "bias",
    "parameters",
    "batch",
    "dtype",
    "precision",
    "cache",
    "status",
    "reason",
    "rel_error",
    "error_gate",
    "time_median_s",
    "time_ci_low_s",
    "time_ci_high_s",
    "visits",
    "samples",
    "throttled_visits",
    "stop_reason",
    "compile_s",
    "warmup_s",
    "launch_hidden",
    "peak_memory_bytes",
    "peak_rss_bytes",
    "predicted_bytes",
    "predicted_call_s",
    "energy_j",
    "sm_clock_mhz",
    "temperature_c",
    "power_w",
    "flops_algorithm",
    "flops_minimal",
    "bytes_minimal",
    "ceiling_flops_per_s",
    "ceiling_bytes_per_s",
    "percent_of_limit",
    "suspect",
)

TRIAL_COLUMNS = (
    *COMMON,
    "device",
    "problem",
    "network",
    "optimizer",
    "role",
    "trial",
    "seed",
    "batch",
    "steps",
    "lr",
    "momentum",
    "damping",
    "weight_decay",
    "schedule",
    "clip",
    "averaging",
    "on_edge",
    "target_metric",
    "target_value",
    "status",
    "reason",
    "steps_to_target",
    "seconds_to_target",
    "seconds",
    "final_train_loss",
    "final_validation_error",
    "final_test_error",
)

CURVE_COLUMNS = (
    "step",
    "epoch",
    "seconds",
    "train_loss",
    "train_error",
    "validation_loss",
    "validation_error",
    "test_loss",
    "test_error",
)

CONVERGENCE_COLUMNS = (
    *COMMON,
    "device",
    "problem",
    "network",
    "optimizer",
    "role",
    "trial",
    "seed",
    *CURVE_COLUMNS,
    "status",
)

INVERSE_COLUMNS = (
    *COMMON,
    "device",
    "source",
    "family",
    "network",
    "layer",
    "factor",
    "size",
    "condition",
    "damping",
    "step",
    "dtype",
    "implementation",
    "start",
    "status",
    "reason",
    "residual",
    "rel_error",
    "iterations",
    "raised",
    "time_median_s",
    "time_ci_low_s",
    "time_ci_high_s",
    "visits",
    "samples",
    "stop_reason",
    "launch_hidden",
)

PROFILE_COLUMNS = (
    *COMMON,
    "device",
    "network",
    "input",
    "approximation",
    "implementation",
    "layout",
    "fisher",
    "clip",
    "damping",
    "statistics_every",
    "inverses_every",
    "batch",
    "dtype",
    "precision",
    "status",
    "reason",
    "step_s",
    "step_ci_low_s",
    "step_ci_high_s",
    "parts_s",
    "parts_share",
    "other_s",
    "marked_step_s",
    "suspect",
    "peak_memory_bytes",
    "visits",
    "samples",
    "stop_reason",
)
"""A network's step: `step_s` as nobody watches it, `parts_s` what the marked phases of a step add up to."""

PART_COLUMNS = (
    "layer",
    "kind",
    "phase",
    "call_s",
    "every",
    "per_step_s",
    "shared",
    "peak_bytes",
    "held_bytes",
    "in_elements",
    "out_elements",
    "parameters",
    "in_channels",
    "out_channels",
    "size",
    "kernel",
    "stride",
    "padding",
    "dilation",
    "groups",
    "bias",
)
"""A phase of a layer, in a profile's `parts`; no layer's name is what belongs to none."""

PROFILE_PART_COLUMNS = (
    *(name for name in PROFILE_COLUMNS if name not in ("reason", "visits", "samples", "stop_reason")),
    *PART_COLUMNS,
)

FIDELITY_COLUMNS = (
    *COMMON,
    "device",
    "problem",
    "network",
    "parameters",
    "seed",
    "epoch",
    "examples",
    "train_loss",
    "test_error",
    "damping",
    "status",
    "reason",
)
"""A small network at one time of its training, its exact Fisher matrix against every approximation."""

FIDELITY_ROW_COLUMNS = (
    "layer",
    "approximation",
    "source",
    "frobenius",
    "trace_ratio",
    "stein",
    "kl",
    "indefinite",
    "cosine",
    "model_decrease",
    "loss_decrease",
    "note",
)
"""One approximation of one layer's block, or of the whole net (no layer), in a fidelity record's `rows`.

``frobenius`` is the error's norm over the exact matrix's; ``trace_ratio`` approximate over exact; ``stein`` and ``kl``
divergences of the damped matrices; ``cosine`` between natural gradients; the decreases, as shares of what the exact
matrix's step gains at equal KL. What cannot be had is empty, and ``note`` says why.
"""

CORRELATION_COLUMNS = (
    *COMMON,
    "device",
    "problem",
    "network",
    "seed",
    "epochs",
    "examples",
    "test_error",
    "status",
    "reason",
)
"""A trained network whose derivatives and activations are correlated (Figs. 3 and 4 of Grosse & Martens 2016)."""

CORRELATION_ROW_COLUMNS = (
    "layer",
    "pooling",
    "quantity",
    "neighbour",
    "second",
    "mean",
    "cross_mean",
    "cross_p95",
    "maps",
)
"""One layer's ``derivative`` or ``activation``, in a correlation record's `rows`.

Absolute correlations: with the four neighbours, at offset 2, and the mean over all offsets up to 6 but zero; across
maps at one position, the mean and the 95th percentile off the diagonal. ``maps`` holds the grids that figures draw.
"""

JOURNAL_ONLY = ("attempt", "worker_s", "visit_group", "last_round")
"""Which try this was, seconds the worker spent on the case, its session of visits in turn, its last round there."""

VISIT_COLUMNS = ("visit_group", "last_round", "visit_medians_s")
"""In frames, beside `COST_COLUMNS`: what pairs the visits of two cases; not in CSV files."""

COLUMNS = {
    "cost": (*COST_COLUMNS, "visit_medians_s"),
    "convergence": (*TRIAL_COLUMNS, "curve"),
    "inverse": INVERSE_COLUMNS,
    "profile": (*PROFILE_COLUMNS, "parts", "steps", "visit_medians_s"),
    "fidelity": (*FIDELITY_COLUMNS, "rows"),
    "correlation": (*CORRELATION_COLUMNS, "rows"),
}


def check_record(record: Record) -> None:
    """Hold a record to the schema.

    Args:
        record: As the journal will keep it.

    Raises:
        ValueError: A field is unknown, a common field is missing, or the status is none.
    """
    known = {*COLUMNS[record["experiment"]], *JOURNAL_ONLY}
    unknown = sorted(set(record) - known)
    missing = [name for name in (*COMMON, "status") if name not in record]
    if unknown or missing or record["status"] not in STATUSES:
        raise ValueError(
            f"record {record.get('case_id')}: unknown {unknown}, missing {missing}, status {record.get('status')!r}"
        )
