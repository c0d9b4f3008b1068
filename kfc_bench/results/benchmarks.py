"""What ``pytest --benchmark`` saves of a record, and records made of it again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfc_bench.errors import UserError
from kfc_bench.results.fingerprint import FINGERPRINT, fingerprint, short_hash
from kfc_bench.results.schema import SCHEMA, Record, check_record

SECTION = "pytest"
HELD = ("time_median_s", "visits", "visit_medians_s")
"""What pytest-benchmark keeps itself: the median of its rounds, their number, and each of them."""

OURS = {"schema", "case_id", "experiment", "environment"}
"""What tells a benchmark of KFC Bench from anyone else's."""

DEVICE_KINDS = ("cpu", "cuda")


def extra_info(record: Record, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Put into a benchmark's ``extra_info`` all of a record that pytest-benchmark does not hold itself.

    Args:
        record: The case's columns and its measurement's: times in seconds, memory in bytes.
        environment: From `kfc_bench.measure.environment.environment`.

    Returns:
        The columns that have a value, and ``environment``.
    """
    columns = {name: value for name, value in record.items() if value is not None and name not in HELD}
    return {"schema": SCHEMA, **columns, "environment": dict(environment)}


@dataclass(frozen=True)
class BenchmarkRun:
    """What one device ran of a file's benchmarks.

    Attributes:
        environment: Where they ran, with ``schema``, ``run_id`` and ``env_id``. The run's name is made of the
            file's time and the fingerprint, so that the same file makes the same run.
        records: Their records.
    """

    environment: dict[str, Any]
    records: list[Record]


@dataclass(frozen=True)
class BenchmarkFile:
    """What a file of pytest-benchmark holds.

    Attributes:
        runs: One for each device.
        foreign: How many of its benchmarks are not KFC Bench's.
        without_rounds: How many of KFC Bench's lack their rounds, which are the visits' medians.
    """

    runs: tuple[BenchmarkRun, ...]
    foreign: int
    without_rounds: int


def read_benchmarks(path: Path) -> BenchmarkFile:
    """Read a JSON file that pytest-benchmark saved of KFC Bench's bench files.

    Args:
        path: The file: ``--benchmark-json``'s, or one below ``--benchmark-storage``.

    Returns:
        Its runs, at least one.

    Raises:
        UserError: It cannot be read, is no such file, or holds nothing that records can be made of.
    """
    remedy = f"make it with: pytest --benchmark --benchmark-json={path.name}"
    began, benchmarks = _open(path, remedy)
    ours = [entry for entry in benchmarks if set(entry.get("extra_info") or ()) >= OURS]
    if not ours:
        raise UserError(f"{path}: none of its {len(benchmarks)} benchmarks is KFC Bench's; {remedy}")
    runs: dict[str, BenchmarkRun] = {}
    for entry in ours:
        try:
            environment = _environment(entry["extra_info"]["environment"], began)
            record = _record(entry, environment)
        except (ValueError, KeyError, TypeError) as error:
            what = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise UserError(f"{path}: benchmark {entry.get('name')!r} is no record: {what}; {remedy}") from None
        runs.setdefault(environment["run_id"], BenchmarkRun(environment, [])).records.append(record)
    return BenchmarkFile(
        runs=tuple(runs.values()),
        foreign=len(benchmarks) - len(ours),
        without_rounds=sum("visit_medians_s" not in record for run in runs.values() for record in run.records),
    )


def _open(path: Path, remedy: str) -> tuple[datetime, list[dict[str, Any]]]:
    """Return when the file was saved, and its benchmarks."""
    try:
        content = json.loads(path.read_bytes())
        began = datetime.fromisoformat(content["datetime"]).astimezone(UTC)
        benchmarks = content["benchmarks"]
        if not all(isinstance(entry, dict) and isinstance(entry["stats"], dict) for entry in benchmarks):
            raise TypeError
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not a JSON file of pytest-benchmark; {remedy}") from None
    return began, benchmarks


def _environment(environment: dict[str, Any], began: datetime) -> dict[str, Any]:
    if environment["device_kind"] not in DEVICE_KINDS:
        raise ValueError(f"device_kind {environment['device_kind']!r} is not one of {', '.join(DEVICE_KINDS)}")
    if missing := sorted(set(FINGERPRINT) - set(environment)):
        raise ValueError(f"its environment lacks {', '.join(missing)}")
    run_id = f"{began:%Y%m%dT%H%M%S}-{short_hash(fingerprint(environment))[:6]}"
    return {"schema": SCHEMA, "run_id": run_id, "env_id": short_hash(environment), **environment}


def _record(entry: dict[str, Any], environment: dict[str, Any]) -> Record:
    columns = {name: value for name, value in entry["extra_info"].items() if name != "environment"}
    if columns["schema"] != SCHEMA:
        raise ValueError(f"schema version {columns['schema']!r}, but this kfc-bench reads version {SCHEMA}")
    stats = entry["stats"]
    median = float(stats["median"])
    if not (math.isfinite(median) and median > 0):
        raise ValueError(f"its median of {median} s is no time")
    record: Record = {
        **columns,
        "run_id": environment["run_id"],
        "env_id": environment["env_id"],
        "section": SECTION,
        "time_median_s": median,
        "visits": stats["rounds"],
    }
    if "data" in stats:
        record["visit_medians_s"] = stats["data"]
    check_record(record)
    return record
