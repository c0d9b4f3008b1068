import json
import subprocess
import sys

import pytest

from kfc_bench.results import finished
from kfc_bench.results.finished import circumstances, finished_run
from kfc_bench.results.run import load_run
from kfc_bench.results.session import Session, write_session
from tests.helpers import cli, cost_record, suite_text, surroundings, write_run

COMPLETE = Session("mine", None, "kfc-bench run mine.toml", "2026-01-02", 1.0, None, "complete", {"a": (2, 2)}, "now")


def run_with(root, session, run_id="run1", cases=("a", "b")):
    folder = write_run(root, [cost_record(case) for case in cases], run_id)
    if session is not None:
        write_session(load_run(folder), session)
    return folder


def session(**own):
    return Session(**{**COMPLETE.__dict__, **own})


def test_a_complete_run_is_found(tmp_path):
    folder = run_with(tmp_path, COMPLETE)
    assert finished_run(tmp_path, "now").folder == folder


UNFINISHED = {
    "other-circumstances": session(circumstances="then"),
    "filtered": session(circumstances=None),
    "interrupted": session(ended="interrupted"),
    "time-limit": session(ended="time limit"),
    "records-gone": session(sections={"a": (3, 3)}),
    "no-session": None,
}


@pytest.mark.parametrize("case", UNFINISHED)
def test_any_doubt_leads_to_a_closer_look(tmp_path, case):
    run_with(tmp_path, UNFINISHED[case])
    assert finished_run(tmp_path, "now") is None
    assert finished_run(tmp_path, None) is None


def test_only_the_newest_run_counts(tmp_path):
    run_with(tmp_path, COMPLETE, "run1")
    run_with(tmp_path, session(ended="cut off"), "run2")
    assert finished_run(tmp_path, "now") is None
    assert finished_run(tmp_path / "nowhere", "now") is None


def test_what_decides_over_the_cases_is_in_the_hash(tmp_path, monkeypatch):
    suite = tmp_path / "mine.toml"
    suite.write_text(suite_text())
    for name in finished.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    hashes = [circumstances(str(suite), None, None)]
    hashes.append(circumstances(str(suite), "cpu", None))
    hashes.append(circumstances(str(suite), None, "small"))
    for name in finished.VARIABLES:
        monkeypatch.setenv(name, "1")
        hashes.append(circumstances(str(suite), None, None))
    for name, value in {"code_hash": "new", "cpu_name": "another", "version": "9", "_devices": ["a GPU"]}.items():
        monkeypatch.setattr(finished, name, lambda *_, value=value: value)
        hashes.append(circumstances(str(suite), None, None))
    suite.write_text(suite_text("3"))
    hashes.append(circumstances(str(suite), None, None))
    assert len(set(hashes)) == len(hashes)


def test_gpus_that_may_not_be_asked_are_left_out(monkeypatch):
    def uuid(index):
        if index == 1:
            raise finished.pynvml.NVMLError(finished.pynvml.NVML_ERROR_NO_PERMISSION)
        return f"GPU-{index}"

    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "600",
        "nvmlDeviceGetCount": lambda: 3,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": uuid,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(finished.pynvml, name, answer)
    assert finished._devices() == ["600", "GPU-0", "GPU-2"]


def test_a_missing_suite_has_no_circumstances(tmp_path):
    assert circumstances(str(tmp_path / "nowhere.toml"), None, None) is None
    assert circumstances("nowhere", None, None) is None
    assert circumstances("quickstart", None, None) is not None


WITHOUT_TORCH = """
import subprocess
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "triton"):
            raise ImportError(f"{name} is not needed for that")
sys.meta_path.insert(0, Blocker())
from kfc_bench.cli import main
sys.argv = ["kfc-bench", "run", "mine.toml", "--results", "results"]
main()
"""


def test_a_complete_suite_is_run_again_without_torch(tmp_path):
    (tmp_path / "mine.toml").write_text(suite_text())
    assert cli("run", "mine.toml", "--results", "results", cwd=tmp_path).returncode == 0
    journal = next((tmp_path / "results").glob("*/journal.jsonl"))
    before = journal.read_bytes()
    (tmp_path / "results" / "cost.csv").unlink()
    (tmp_path / "again.py").write_text(WITHOUT_TORCH)
    again = subprocess.run(
        [sys.executable, "again.py"],
        cwd=tmp_path,
        env=surroundings(),
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert "is complete; --fresh begins another" in again.stdout
    assert "1 ok" in again.stdout
    assert (tmp_path / "results" / "cost.csv").exists()
    assert journal.read_bytes() == before
    assert json.loads(journal.with_name("session.json").read_text())["ended"] == "complete"
