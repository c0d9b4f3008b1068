"""Sessions of ``pytest --benchmark`` on a revision's own files, each in a process of its own."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kfc_bench.errors import UserError
from kfc_bench.results.bench_session import BenchSession, read_bench_session

PASSED, FAILED, NOTHING_COLLECTED = 0, 1, 5
"""pytest's exit codes of sessions that came to their end."""

WORDS = 3
"""Last lines of pytest's output that a message repeats."""

DEEPEST = 3
"""So many folders below a checkout are looked through for what imports may come from: ``packages/one/src``."""

UNTIMED = {"xdist": "-n0", "pytest_cov": "--no-cov"}
"""Plugins that a project's own options may have turned on and that spoil a time, and what turns each off."""


@dataclass(frozen=True)
class Side:
    """One revision, checked out.

    Attributes:
        name: ``"base"`` or ``"head"``.
        revision: As the user wrote it.
        commit: Its hash; the one that is checked out for the working tree.
        folder: Where its sessions run.
    """

    name: str
    revision: str
    commit: str
    folder: Path

    def __str__(self) -> str:
        """Return how messages call it."""
        return f"{self.name} ({self.revision})"

    def has(self, path: str) -> bool:
        """Tell whether a bench file or folder is there, or a node id's file."""
        return (self.folder / path.partition("::")[0]).exists()


@dataclass(frozen=True)
class Sessions:
    """How sessions are run.

    Attributes:
        paths: Bench files and folders below a side's folder; empty for what ``pytest --benchmark`` collects by itself.
        options: More arguments for pytest.
        imports: Folders below a side's folder that its imports come from first.
        seconds: What pytest-benchmark gives a benchmark in one session.
        out: Folder that keeps the sessions' files.
        timeout_s: Longest that a session may take.
    """

    paths: tuple[str, ...]
    options: tuple[str, ...]
    imports: tuple[str, ...]
    seconds: float
    out: Path
    timeout_s: float

    def run(self, side: Side, label: str, tests: Sequence[str] | None = None) -> BenchSession:
        """Run one session.

        Args:
            side: The revision.
            label: Names the session's files.
            tests: Node ids to run; all of the paths' if None.

        Returns:
            What it came to; an empty one where the side has none of the paths or tests.

        Raises:
            UserError: pytest did not come to its end, what it imported lies elsewhere, or its files cannot be written.
        """
        wanted = [path for path in self.paths if side.has(path)] if tests is None else list(tests)
        if not wanted and (self.paths or tests is not None):
            return BenchSession()
        stem = self.out / f"{label}-{side.name}"
        benchmarks, outcomes, log = (stem.with_name(f"{stem.name}.{kind}") for kind in ("json", "xml", "log"))
        command = [sys.executable, "-m", "pytest", "--benchmark", *wanted, f"--rootdir={side.folder}"]
        command += [option for plugin, option in UNTIMED.items() if importlib.util.find_spec(plugin)]
        command += ["--benchmark-enable", "--benchmark-only", f"--benchmark-max-time={self.seconds:g}"]
        command += [f"--benchmark-json={benchmarks}", f"--junitxml={outcomes}", "-o", "junit_family=xunit1"]
        code = self._pytest([*command, *self.options], side, log)
        if code == NOTHING_COLLECTED:
            return BenchSession()
        if code not in (PASSED, FAILED):
            raise UserError(f"{side}: pytest ended with exit code {code}: {_last_words(log)}; all of it: {log}")
        session = read_bench_session(benchmarks, outcomes)
        self._measured_its_own(side, session)
        return session

    def _measured_its_own(self, side: Side, session: BenchSession) -> None:
        """Refuse a session that imported from elsewhere what the side has a copy of."""
        own = _importable(side.folder)
        for name, file in session.imported.items():
            if name in own and not Path(file).resolve().is_relative_to(side.folder.resolve()):
                raise UserError(
                    f"{side}: {file} was measured, not {own[name].relative_to(side.folder)} of this revision; "
                    "--import-from names the folder that its imports come from"
                )

    def _pytest(self, command: list[str], side: Side, log: Path) -> int:
        paths = [str(side.folder / folder) for folder in self.imports]
        inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        environment = {**own, "PYTHONPATH": os.pathsep.join([*paths, *inherited])}
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("")
        except OSError as error:
            raise UserError(f"{log.parent}: {error.strerror}; name another folder with --out") from None
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=side.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return process.wait(self.timeout_s)
            except subprocess.TimeoutExpired:
                raise UserError(
                    f"{side}: a session took longer than {self.timeout_s:g} s, --timeout's limit; all it said: {log}"
                ) from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def _importable(folder: Path) -> dict[str, Path]:
    """Find what can be imported from a folder or one a little below.

    What lies in a package, or in another repository inside, is none of it.

    Args:
        folder: Where to look.

    Returns:
        The file of each package and module by its name, the uppermost if there are several.
    """
    found: dict[str, Path] = {}
    for depth, kind in itertools.product(range(DEEPEST + 1), ("*/__init__.py", "*.py")):
        for file in sorted(folder.glob("*/" * depth + kind)):
            top = file.parent if file.name == "__init__.py" else file
            outer = [folder / parent for parent in top.relative_to(folder).parents if parent.parts]
            if top != folder and not any((each / mark).exists() for each in outer for mark in ("__init__.py", ".git")):
                found.setdefault(top.name.removesuffix(".py"), file)
    return found


def _last_words(log: Path) -> str:
    lines = [re.sub(r"^[=!_ ]+|[=!_ ]+$", "", line) for line in log.read_text(errors="replace").splitlines()]
    return "; ".join([line for line in lines if line][-WORDS:]) or "it said nothing"


def prepare(side: Side, command: str, timeout_s: float) -> None:
    """Run a shell command in a side's folder, such as one that builds its extensions in place.

    Args:
        side: The revision.
        command: For ``sh``.
        timeout_s: Longest that it may take.

    Raises:
        UserError: It fails.
    """
    try:
        done = subprocess.run(
            command, shell=True, cwd=side.folder, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{side}: --prepare took longer than {timeout_s:g} s; --timeout sets the limit") from None
    if done.returncode:
        words = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()][-WORDS:]
        raise UserError(f"{side}: --prepare ended with exit code {done.returncode}: {'; '.join(words)}")
