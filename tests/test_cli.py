"""The command line as a user types it."""

import csv
import os
import resource
import shutil
import signal

import pytest
import torch

from kfc_bench import __version__
from kfc_bench.report import static_gate
from kfc_bench.results.run import ENVIRONMENT, JOURNAL
from kfc_bench.results.schema import COST_COLUMNS
from tests.helpers import (
    DEADLINE_S,
    assert_refused,
    cli,
    cli_here,
    cost_record,
    journal_lines,
    start_cli,
    step_record,
    suite_text,
    trial_record,
    wait_until,
    write_run,
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with a suite of three cases, two of them measured."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "mine.toml").write_text(suite_text("[2, 3, 4]"))
    return folder, cli("run", "mine.toml", "--results", "out", "--filter", "batch=2,3", cwd=folder)


@pytest.fixture(scope="module")
def suites(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suites")
    (folder / "good.toml").write_text(suite_text())
    (folder / "zero.toml").write_text(suite_text("0"))
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A results folder with hand-made records."""
    folder = tmp_path_factory.mktemp("recorded")
    steps = [step_record("sgd", (1e-3, 9e-4, 2e-3)), step_record("kfc", (2e-3, 1.8e-3, 3e-3))]
    write_run(folder / "results", [*steps, trial_record("sgd", 1, 12, 1.0), trial_record("kfc", 1, 6, 0.9)])
    return folder


def test_a_filtered_run_measures_those_cases_alone(measured):
    folder, done = measured
    assert (done.returncode, done.stderr) == (0, "")
    assert [(record["batch"], record["status"]) for record in journal_lines(folder / "out")] == [(2, "ok"), (3, "ok")]
    assert "new run" in done.stdout
    assert "2 ok" in done.stdout
    assert "kfc-bench dashboard out" in done.stdout


def test_a_run_writes_cost_csv_with_the_schema_s_columns(measured):
    with (measured[0] / "out" / "cost.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COST_COLUMNS
    assert [row[header.index("status")] for row in rows] == ["ok", "ok"]


def test_a_run_ends_with_a_report(measured):
    folder, done = measured
    report = (folder / "out" / "report.md").read_text()
    assert "wrote out/report.md" in done.stdout
    assert "| mine | 2 | 2 | 0 |" in report
    assert "kfc-bench run mine.toml --filter batch=2,3\n" in report
    again = cli("report", "out", "--out", "again.md", cwd=folder)
    assert (again.returncode, again.stdout) == (0, "wrote again.md\n")
    assert (folder / "again.md").read_text() == report


def test_a_run_without_csv_in_a_variant_s_folder_up_to_its_time_limit(tmp_path):
    header, body = suite_text().split("[defaults]", 1)
    body = f"[defaults]{body}".replace("[defaults]", "[section.defaults]").replace("[[sweep]]", "[[section.sweep]]")
    limited = "time_limit_s = 1e-9\n" + "".join(
        f'[[section]]\nname = "{name}"\nvariant = "{name}"\nkind = "cost"\n{body}' for name in ("small", "big")
    )
    assert header
    (tmp_path / "mine.toml").write_text(limited)
    done = cli("run", "mine.toml", "--device", "cpu", "--variant", "big", "--no-csv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the time limit of 1e-09 s has passed: 1 of 1 cases were not reached; run again to go on" in done.stdout
    names = sorted(path.name for path in (tmp_path / "results" / "mine-big").rglob("*") if path.is_file())
    assert names == [ENVIRONMENT, JOURNAL, "report.md", "session.json"]
    report = (tmp_path / "results" / "mine-big" / "report.md").read_text()
    assert "Not reached: 1 cases; by section: big (1 of 1)" in report
    assert "kfc-bench run mine.toml --device cpu --variant big --no-csv" in report


def test_an_unknown_variant_is_refused(suites):
    done = cli_here("run", "layers", "--variant", "gpu", "--results", "out", cwd=suites)
    assert_refused(done, "no variant 'gpu'", "there are: cpu, cuda")


def test_a_report_of_nothing_is_refused(suites):
    (suites / "nothing").mkdir()
    assert_refused(cli_here("report", "nothing", cwd=suites), "nothing: no run in it")
    assert not list((suites / "nothing").iterdir())


def test_the_same_run_again_measures_nothing(measured):
    folder, _ = measured
    (journal,) = folder.glob(f"out/*/{JOURNAL}")
    before = journal.read_bytes()
    done = cli("run", "mine.toml", "--results", "out", "--filter", "batch=2,3", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "going on with run" in done.stdout
    assert journal.read_bytes() == before


def test_fresh_opens_another_run(measured):
    folder, _ = measured
    shutil.copytree(folder / "out", folder / "fresh")
    done = cli("run", "mine.toml", "--results", "fresh", "--filter", "batch=5", "--fresh", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "new run" in done.stdout
    assert len(list(folder.glob(f"fresh/*/{ENVIRONMENT}"))) == 2
    assert len(journal_lines(folder / "fresh")) == 2


def test_listing_measures_nothing(measured):
    folder, _ = measured
    done = cli_here("run", "mine.toml", "--list", "--filter", "batch=2,4", "--results", "listed", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    title, *lines = done.stdout.splitlines()
    assert title == "mine: 2 cases known of 3"
    assert [line.split(", ")[-1] for line in lines] == ["batch 2", "batch 4"]
    assert not (folder / "listed").exists()


def test_version(tmp_path):
    done = cli("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"kfc-bench {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["run", "export", "summary", "dashboard"]),
        (["run", "--help"], ["--device", "--variant", "--results", "--filter", "--list", "--fresh", "--no-csv"]),
        (["export", "-h"], ["--format", "--out", "--every-run"]),
    ],
)
def test_help(tmp_path, arguments, words):
    done = cli(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for word in words:
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.toml"], ["none.toml: no such suite file"]),
        (["zero.toml"], ["zero.toml [[sweep]] 1: batch = 0 must be at least 1"]),
        (["good.toml", "--filter", "btch=2"], ["--filter 'btch=2'", "did you mean 'batch'?"]),
        pytest.param(
            ["good.toml", "--device", "cuda"],
            ["device 'cuda'", "no CUDA device here", "--device cpu"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here"),
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(suites, arguments, words):
    assert_refused(cli_here("run", *arguments, "--results", "out", cwd=suites), *words)
    assert not (suites / "out").exists()


def test_results_that_cannot_be_written_are_refused(suites):
    assert_refused(cli_here("run", "good.toml", "--results", "zero.toml/out", cwd=suites), "zero.toml/out", "--results")


def test_results_of_another_schema_version_are_refused(suites):
    write_run(suites / "old", [], schema=0)
    assert_refused(
        cli_here("run", "good.toml", "--results", "old", cwd=suites), "old/run1/environment.json", "version 0"
    )


def test_a_damaged_journal_is_refused_and_kept(recorded):
    folder = write_run(recorded / "damaged", [cost_record("a"), cost_record("b")])
    journal = folder / JOURNAL
    journal.write_bytes(b"{" + journal.read_bytes())
    before = journal.read_bytes()
    assert_refused(cli_here("summary", "damaged", cwd=recorded), f"damaged/run1/{JOURNAL}:1: ", "damaged")
    assert journal.read_bytes() == before


def test_export_writes_every_frame(recorded):
    done = cli_here("export", "results", "--format", "csv", "--out", "papers", cwd=recorded)
    names = ["cost", "convergence", "trials", "comparison", "time_to_target", "performance_profile"]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"wrote papers/{name}.csv" for name in names]
    assert sorted(path.stem for path in (recorded / "papers").iterdir()) == sorted(names)


@pytest.mark.parametrize("command", ["export", "summary", "dashboard"])
def test_a_missing_results_folder_is_refused(recorded, command):
    assert_refused(cli_here(command, "none", cwd=recorded), "none: no such results folder", "kfc-bench run quickstart")


def test_export_without_records_is_refused(recorded):
    (recorded / "empty").mkdir()
    assert_refused(cli_here("export", "empty", cwd=recorded), "empty: no records in it")
    assert not list((recorded / "empty").iterdir())


def test_a_full_disk_leaves_the_old_export_whole(recorded):
    (recorded / "full").mkdir()
    (recorded / "full" / "cost.csv").write_text("old")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    done = cli("export", "results", "--out", "full", cwd=recorded, preexec_fn=limit)
    assert_refused(done, "full/cost.csv: File too large", "--out")
    assert [path.name for path in (recorded / "full").iterdir()] == ["cost.csv"]
    assert (recorded / "full" / "cost.csv").read_text() == "old"


def test_summary_in_markdown(recorded):
    done = cli_here("summary", "results", "--markdown", cwd=recorded)
    assert (done.returncode, done.stderr) == (0, "")
    title, blank, header, rule, *rows = done.stdout.splitlines()
    assert title == "**Against tuned SGD (CPU, no GPU: Some CPU)**"
    assert blank == ""
    assert header.count("|") == rule.count("|") == 12
    first = rows[: rows.index("")]
    assert [row.split(" | ")[2:5] for row in first] == [["sgd", "1 ms", "1x"], ["kfc", "2 ms", "2x [0.9, 3.33]"]]


def test_ctrl_c_outside_a_run_is_one_line(recorded):
    folder = recorded / "waiting"
    folder.mkdir()
    os.mkfifo(folder / ENVIRONMENT)

    def opened_by_reader():
        try:
            return os.open(folder / ENVIRONMENT, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    process = start_cli("export", "waiting", cwd=recorded)
    pipe = wait_until(opened_by_reader)
    process.send_signal(signal.SIGINT)
    os.close(pipe)
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, output, errors) == (130, "", "kfc-bench: interrupted\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "good.toml", "--bogus"], ["No such option: --bogus", "--help"]),
        (["frob"], ["No such command 'frob'"]),
        (["run"], ["Missing argument", "suite"]),
        (["export", "out", "--format", "pdf"], ["'--format'", "pdf", "csv"]),
        (
            ["run", "good.toml", "--filter", "batch=7"],
            ["--filter batch=7", "no case of suite 'good' matches", "--list"],
        ),
    ],
    ids=lambda value: " ".join(value)[:24],
)
def test_words_that_fit_nothing_are_refused_in_one_line(suites, words, said):
    assert_refused(cli_here(*words, cwd=suites), *said)
    assert not (suites / "results").exists()


ONE_KERNEL = ("--target", "sm_90", "--filter", "kernel=grouped_product_kernel", "--filter", "products=float16")


def test_kernels_prints_what_a_launch_needs(tmp_path):
    pytest.importorskip("triton")
    done = cli_here("kernels", *ONE_KERNEL, "--format", "csv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert (row["layer"], row["tile"], row["stack_bytes"]) == ("every", "BM=64 BN=64 BI=32", "0")
    assert row["matrix_instructions"].startswith("wgmma:")


def test_kernels_checks_against_the_snapshot(tmp_path, monkeypatch):
    triton = pytest.importorskip("triton")
    monkeypatch.setattr(static_gate, "share", lambda name: tmp_path / name)
    check = ("kernels", *ONE_KERNEL, "--check")
    snapshot = tmp_path / "results" / "static" / f"kernels-triton-{triton.__version__}.csv"
    snapshot.parent.mkdir(parents=True)
    (snapshot.parent / "kernels-triton-0.1.csv").touch()
    done = cli_here(*check, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (
        0,
        f"skipped: the snapshot is of triton 0.1, and this is {triton.__version__}; --update writes one of it\n",
    )

    snapshot.write_text(cli_here("kernels", *ONE_KERNEL, "--format", "csv", cwd=tmp_path).stdout)
    done = cli_here(*check, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"1 rows are no worse than {snapshot.name}\n")

    snapshot.write_text(snapshot.read_text().replace("wgmma:", "tcgen05.mma:1 wgmma:"))
    done = cli_here(*check, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()) == (
        1,
        [
            "precondition grouped_product_kernel every float16 sm_90: no tcgen05.mma any more",
            f"1 of 1 rows are worse than {snapshot.name}; --update accepts them",
        ],
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "sm_9"], ["no kernel matches", "sm_80, sm_90, sm_100, gfx942"]),
        (["--filter", "layr=1x1"], ["'layr'", "did you mean 'layer'?"]),
        (["--update", "--check"], ["--update writes the whole snapshot"]),
        (["--update", "--target", "sm_90"], ["--update writes the whole snapshot"]),
    ],
)
def test_kernels_mistakes_are_one_line(tmp_path, words, said):
    pytest.importorskip("triton")
    assert_refused(cli_here("kernels", *words, cwd=tmp_path), *said)


def test_kernels_under_the_interpreter_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert_refused(cli("kernels", cwd=tmp_path), "unset TRITON_INTERPRET")
