"""What ends a whole run, and going on afterwards: each in a process of its own, as a user types it."""

import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from kfc_bench.results.run import ENVIRONMENT, JOURNAL
from tests.helpers import (
    DEADLINE_S,
    LAYER,
    QUICK,
    SLOW,
    assert_refused,
    cli,
    command,
    copy_sources,
    journal_lines,
    start_cli,
    suite_text,
    surroundings,
    wait_until,
)

BATCHES = [2, 3, 4, 5]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.toml").write_text(suite_text(str(BATCHES), defaults=SLOW))
    return tmp_path


@pytest.fixture
def started(folder):
    process = start_cli("run", "mine.toml", "--results", "results", cwd=folder)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def run(folder, *arguments, **options):
    return cli("run", "mine.toml", "--results", "results", *arguments, cwd=folder, **options)


def is_gone(process):
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def workers_of(process):
    def is_worker(child):
        try:
            return "spawn_main" in "".join(child.cmdline())
        except psutil.NoSuchProcess:
            return False

    return list(filter(is_worker, psutil.Process(process.pid).children(recursive=True)))


def half_way(folder):
    return wait_until(lambda: journal_lines(folder / "results")[1:])


def assert_complete_without_repeats(folder):
    records = journal_lines(folder / "results")
    assert [record["batch"] for record in records] == BATCHES
    assert {(record["status"], record["attempt"]) for record in records} == {("ok", 1)}
    assert len({record["case_id"] for record in records}) == len(BATCHES)


def test_a_killed_run_goes_on_without_repeating_a_finished_case(folder, started):
    half_way(folder)
    workers = workers_of(started)
    started.kill()
    assert started.wait(DEADLINE_S) == -signal.SIGKILL
    wait_until(lambda: all(is_gone(worker) for worker in workers), deadline_s=10)
    kept = journal_lines(folder / "results")
    assert 2 <= len(kept) < len(BATCHES)
    done = run(folder)
    assert done.returncode == 0
    assert "going on with run" in done.stdout
    assert journal_lines(folder / "results")[: len(kept)] == kept
    assert_complete_without_repeats(folder)


def test_ctrl_c_keeps_every_record_and_a_second_runner_is_refused_meanwhile(folder, started):
    half_way(folder)
    os.killpg(started.pid, signal.SIGSTOP)
    assert_refused(run(folder), "results: another kfc-bench is writing to this folder")
    os.killpg(started.pid, signal.SIGINT)
    os.killpg(started.pid, signal.SIGCONT)
    _, errors = started.communicate(timeout=DEADLINE_S)
    kept = journal_lines(folder / "results")
    assert started.returncode == 130
    assert errors == f"kfc-bench: interrupted: {len(kept)} records are kept in results; run again to go on\n"
    assert 2 <= len(kept) < len(BATCHES)


def test_a_second_runner_is_refused_and_the_first_ends_as_if_alone(folder, started):
    half_way(folder)
    os.killpg(started.pid, signal.SIGSTOP)
    assert_refused(run(folder), "results: another kfc-bench is writing to this folder")
    os.killpg(started.pid, signal.SIGCONT)
    started.communicate(timeout=DEADLINE_S)
    assert started.returncode == 0
    assert_complete_without_repeats(folder)


def test_ctrl_c_while_the_worker_starts_is_one_line_too(started):
    wait_until(lambda: workers_of(started))
    os.killpg(started.pid, signal.SIGINT)
    _, errors = started.communicate(timeout=DEADLINE_S)
    assert started.returncode == 130
    assert errors == "kfc-bench: interrupted: 0 records are kept in results; run again to go on\n"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on a file's size is set as on Linux")
def test_a_full_disk_keeps_what_is_finished(folder):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2600, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    (folder / "mine.toml").write_text(suite_text(str(BATCHES)))
    assert_refused(run(folder, preexec_fn=limit), JOURNAL, "File too large", "run again to go on")
    (journal,) = folder.glob(f"results/*/{JOURNAL}")
    assert journal.stat().st_size == 2600
    kept = journal_lines(folder / "results")
    assert [record["batch"] for record in kept] == BATCHES[: len(kept)]
    assert kept
    done = run(folder)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "the last line is torn and left out" in done.stderr
    assert journal_lines(folder / "results")[: len(kept)] == kept
    assert_complete_without_repeats(folder)


SMALL_DISK = "unshare -rm sh -c 'mount -t tmpfs -o size=16k none results && exec \"$@\"' small-disk "
"""Four pages in a mount namespace of its own: for the environment, the session, and a few records."""


def in_a_small_disk(folder, *words):
    return subprocess.run(
        [*shlex.split(SMALL_DISK), *words], cwd=folder, env=surroundings(), capture_output=True, text=True
    )


def test_a_file_system_that_is_really_full_keeps_what_is_finished(folder):
    (folder / "results").mkdir()
    if shutil.which("unshare") is None or in_a_small_disk(folder, "true").returncode:
        pytest.skip("no file system may be mounted here, not even in a namespace of its own")
    batches = list(range(2, 12))
    (folder / "mine.toml").write_text(suite_text(str(batches)))
    words = shlex.join(command("run", "mine.toml", "--results", "results"))
    done = in_a_small_disk(folder, "sh", "-c", f"{words}; code=$?; cp -r results kept; exit $code")
    assert_refused(done, JOURNAL, "No space left on device", "run again to go on")
    (folder / "results").rmdir()
    (folder / "kept").rename(folder / "results")
    kept = journal_lines(folder / "results")
    assert [record["batch"] for record in kept] == batches[: len(kept)]
    assert 0 < len(kept) < len(batches)
    assert run(folder).returncode == 0
    records = journal_lines(folder / "results")
    assert records[: len(kept)] == kept
    assert [(record["batch"], record["status"], record["attempt"]) for record in records] == [
        (batch, "ok", 1) for batch in batches
    ]


SPOILED = """
sound = damped_inverse


def damped_inverse(*given, implementation):
    found = sound(*given, implementation=implementation)
    spoiled = [inverse * torch.nan for inverse in found.inverses]
    return found._replace(inverses=spoiled) if implementation == "eigendecomposition" else found
"""


def test_a_result_that_is_not_a_number_is_wrong_and_costs_no_other_case(tmp_path):
    packages = copy_sources(tmp_path / "packages")
    with (packages / "kfc_kernels" / "damped_inverse" / "__init__.py").open("a") as file:
        file.write(SPOILED)
    both = f'layer = {LAYER}\nbatch = 2\nimplementation = ["reference", "eigendecomposition"]'
    (tmp_path / "mine.toml").write_text(
        f'kind = "cost"\ndevice = "cpu"\n[defaults]\n{QUICK}\n[[sweep]]\noperator = "damped_inverse"\n{both}\n'
    )
    done = run(tmp_path, packages=packages)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrong: damped_inverse eigendecomposition" in done.stdout
    records = {record["implementation"]: record for record in journal_lines(tmp_path / "results")}
    assert {name: record["status"] for name, record in records.items()} == {
        "reference": "ok",
        "eigendecomposition": "wrong",
    }
    assert records["eigendecomposition"]["reason"].startswith("error inf against float64")
    assert "time_median_s" not in records["eigendecomposition"]
    assert run(tmp_path, packages=packages).returncode == 0
    assert len(journal_lines(tmp_path / "results")) == 2


def test_changed_code_repeats_every_case_and_says_why(tmp_path):
    packages = copy_sources(tmp_path / "packages")
    (tmp_path / "mine.toml").write_text(suite_text("[2, 3]"))
    first = run(tmp_path, packages=packages)
    before = journal_lines(tmp_path / "results")
    assert (first.returncode, len(before)) == (0, 2)
    with (packages / "kfc_kernels" / "geometry.py").open("a") as file:
        file.write("# changed\n")
    second = run(tmp_path, packages=packages)
    assert second.returncode == 0
    assert f"code changed since run {before[0]['run_id']}" in second.stdout
    after = journal_lines(tmp_path / "results")
    assert [record["case_id"] for record in after] == [record["case_id"] for record in before] * 2
    assert {record["attempt"] for record in after} == {1}
    assert len({record["run_id"] for record in after}) == len(list(tmp_path.glob(f"results/*/{ENVIRONMENT}"))) == 2
