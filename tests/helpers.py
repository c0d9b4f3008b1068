"""What the tests of results, runner, report and command line share."""

from __future__ import annotations

import atexit
import compileall
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from functools import cache
from pathlib import Path
from py_compile import PycInvalidationMode
from unittest.mock import patch

import kfc_bench
import kfc_kernels
from kfc_bench.cli import main
from kfc_bench.resources import share
from kfc_bench.results.frames import load_results
from kfc_bench.results.run import ENVIRONMENT, JOURNAL
from kfc_bench.results.schema import SCHEMA

DEADLINE_S = 60.0

LAYER = "{ in_channels = 2, out_channels = 3, size = 6, kernel = 3 }"
QUICK = "seconds = 0.05\nleast_visits = 6\nmost_visits = 6"
SLOW = "half_width = 1e-9\nleast_visits = 40\nmost_visits = 40\nseconds = 60.0"
"""Some 0.3 s a case: long enough to strike while it runs."""

ENVIRONMENT_NOW = {
    "device": "Some CPU",
    "device_kind": "cpu",
    "driver": None,
    "torch": "2",
    "triton": "3",
    "code": "c0de",
    "threads": 2,
}


def suite_text(batch="2", *, layer=LAYER, defaults=QUICK, operator='"input_factor"', more=""):
    return (
        f'kind = "cost"\ndevice = "cpu"\n[defaults]\n{defaults}\n'
        f"[[sweep]]\noperator = {operator}\nlayer = {layer}\nbatch = {batch}\n{more}\n"
    )


def copy_sources(folder):
    """Copy both packages and the suites, so that editing meanwhile changes no fingerprint."""
    return Path(shutil.copytree(sources(), folder, dirs_exist_ok=True))


SHORTER = {
    "measure/ceilings.py": [("LEAST_S = 0.05", "LEAST_S = 0.005"), ("MOST_S = 0.5", "MOST_S = 0.05")],
    "experiments/cost/measurement.py": [("WARMUP_S = 50e-3", "WARMUP_S = 5e-3")],
}
"""Numbers that no test of a process looks at, and each would spend seconds on; tests of measuring take them whole."""


@cache
def sources():
    """Return a folder with a copy in which ceilings and warm-up are `SHORTER`, compiled for all that run it.

    What is compiled goes by the sources' content, for a test may edit a file within the second that times are kept to.
    """
    kept = tempfile.TemporaryDirectory(prefix="kfc-bench-tests-")
    atexit.register(kept.cleanup)
    folder = Path(kept.name)
    skipped = shutil.ignore_patterns("__pycache__")
    for package in (kfc_bench, kfc_kernels):
        shutil.copytree(Path(package.__file__).parent, folder / package.__name__, ignore=skipped)
    if not (folder / "kfc_bench" / "share").exists():
        shutil.copytree(share("suites"), folder / "suites", ignore=skipped)
    for name, edits in SHORTER.items():
        file = folder / "kfc_bench" / name
        text = file.read_text()
        for before, after in edits:
            assert text.count(f"\n{before}\n") == 1, before
            text = text.replace(f"\n{before}\n", f"\n{after}\n")
        file.write_text(text)
    compileall.compile_dir(folder, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return folder


def command(*arguments):
    return [sys.executable, "-m", "kfc_bench.cli", *map(str, arguments)]


def surroundings(packages=None):
    return {**os.environ, "PYTHONPATH": str(packages or sources())}


def cli(*arguments, cwd, packages=None, **options):
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=surroundings(packages),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        **options,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def cli_here(*arguments, cwd):
    """Call a command in this process, where what is asked needs none of its own."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        patch.object(sys, "argv", ["kfc-bench", *map(str, arguments)]),
        patch.object(warnings, "showwarning"),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def start_cli(*arguments, cwd):
    """Start a command as the leader of its own process group."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # These tests run in the background, where shells have Ctrl-C ignored, by children too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def assert_refused(done, *words, code=2):
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def wait_until(condition, deadline_s=DEADLINE_S):
    end = time.monotonic() + deadline_s
    while not (answer := condition()):
        assert time.monotonic() < end, "nothing happened before the deadline"
        time.sleep(0.005)
    return answer


def journal_lines(root):
    """Return the whole lines of all journals below a results folder."""
    return [
        json.loads(line)
        for path in sorted(root.glob(f"*/{JOURNAL}"))
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    ]


def cost_record(case_id="a", **own):
    return {
        "schema": SCHEMA,
        "run_id": "run1",
        "env_id": "env1",
        "case_id": case_id,
        "experiment": "cost",
        "section": "cost",
        "device": "cpu",
        "batch": 64,
        "dtype": "float32",
        "precision": "ieee",
        "status": "ok",
        **own,
    }


def step_record(approximation, times, **own):
    median, low, high = times
    return cost_record(
        f"step {approximation} {own.get('batch')}",
        approximation=approximation,
        implementation="auto",
        network="digits",
        phase="step",
        time_median_s=median,
        time_ci_low_s=low,
        time_ci_high_s=high,
        peak_memory_bytes=1024,
        **own,
    )


def trial_record(optimizer, seed, steps, seconds, **own):
    return {
        "schema": SCHEMA,
        "run_id": "run1",
        "env_id": "env1",
        "case_id": f"{optimizer} {seed}",
        "experiment": "convergence",
        "section": "convergence",
        "device": "cpu",
        "problem": "digits",
        "network": "digits",
        "optimizer": optimizer,
        "role": "report",
        "trial": seed,
        "seed": seed,
        "batch": 64,
        "lr": 0.1,
        "momentum": 0.9,
        "damping": None if optimizer == "sgd" else 0.01,
        "on_edge": False,
        "status": "ok",
        "steps_to_target": steps,
        "seconds_to_target": seconds,
        "final_test_error": 0.02,
        "curve": [{"step": 0, "seconds": 0.0, "train_loss": 2.3}, {"step": 6, "seconds": 0.5, "train_loss": 1.1}],
        **own,
    }


def write_run(root, records, run_id="run1", env_id="env1", **environment):
    """Write a run by hand, as an earlier session would have left it."""
    folder = root / run_id
    folder.mkdir(parents=True)
    described = {
        "schema": SCHEMA,
        "run_id": run_id,
        "env_id": env_id,
        **ENVIRONMENT_NOW,
        **environment,
    }
    (folder / ENVIRONMENT).write_text(json.dumps(described))
    lines = [json.dumps({**record, "run_id": run_id, "env_id": env_id}) + "\n" for record in records]
    (folder / JOURNAL).write_text("".join(lines))
    return folder


def results_of(root, records):
    write_run(root, records)
    return load_results([root])
