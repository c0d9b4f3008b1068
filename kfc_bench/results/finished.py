"""Recognising, without torch, that a suite has nothing left to measure: importing torch takes longer than the rest."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pynvml

from kfc_bench.measure.sources import PEERS, code_hash, cpu_name, version
from kfc_bench.resources import share
from kfc_bench.results.fingerprint import short_hash
from kfc_bench.results.run import Run, is_final, latest_by_case, list_runs
from kfc_bench.results.session import read_session

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def _devices() -> list[str]:
    """Name the driver and every GPU that may be asked; nothing where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        found = [pynvml.nvmlSystemGetDriverVersion()]
        for index in range(pynvml.nvmlDeviceGetCount()):
            with contextlib.suppress(pynvml.NVMLError):
                found.append(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index)))
        return found
    finally:
        pynvml.nvmlShutdown()


def circumstances(suite: str, device: str | None, variant: str | None) -> str | None:
    """Hash everything that decides which cases a suite has and whether a finished one counts.

    It is finer than a run's fingerprint: where it is equal, the fingerprint is.

    Args:
        suite: A path, or the name of a suite that comes along.
        device: What the command line says.
        variant: What the command line says.

    Returns:
        The hash; None if there is no such suite file.
    """
    path = Path(suite) if suite.endswith(".toml") else share("suites") / f"{suite}.toml"
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    packages = [version(package) for package in ("torch", "triton", *PEERS)]
    variables = [os.environ.get(name) for name in VARIABLES]
    machine = [cpu_name(), len(os.sched_getaffinity(0)), _devices()]
    return short_hash([text, device, variant, code_hash(), packages, variables, machine])


def finished_run(root: Path, circumstance: str | None) -> Run | None:
    """Find the run in which nothing is left to do under these circumstances.

    Args:
        root: The results folder.
        circumstance: From `circumstances`.

    Returns:
        Its newest run, if that is complete and was run under the same; else None.
    """
    runs = list_runs(root)
    session = read_session(runs[-1].folder) if runs and circumstance is not None else None
    if session is None or session.ended != "complete" or session.circumstances != circumstance:
        return None
    final = sum(is_final(record) for record in latest_by_case(runs[-1].records()).values())
    return runs[-1] if final >= sum(total for total, _ in session.sections.values()) else None
