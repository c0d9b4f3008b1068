"""``kfc-bench audit`` as a user types it."""

from __future__ import annotations

import csv
import dataclasses
import subprocess
import sys

import pytest

from kfc_bench.audit import run as running
from kfc_bench.audit.document import document
from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.run import audit, chosen
from kfc_bench.audit.script import script
from kfc_bench.audit.table import committed, matrix, read_csv, to_csv
from kfc_bench.audit.verdicts import Verdict
from kfc_bench.commands.audit import audit as command
from kfc_bench.commands.console import TableFormat
from kfc_bench.errors import UserError
from tests.helpers import assert_refused, cli_here


def test_the_findings_of_one_library_as_csv(tmp_path, capsys):
    command(libraries=["kfc_bench"], options=["stride"], format=TableFormat.csv, out=tmp_path / "a.csv")
    assert capsys.readouterr().out == f"wrote {tmp_path / 'a.csv'}\n"
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert (row["library"], row["option"], row["verdict"]) == ("kfc_bench", "stride", "right")
    (finding,) = read_csv(tmp_path / "a.csv")
    assert finding.verdict == Verdict.RIGHT


@pytest.mark.parametrize("format", TableFormat)
def test_every_format_says_the_verdict(format, monkeypatch, capsys):
    findings = read_csv(committed())
    monkeypatch.setattr(running, "audit", lambda *_: findings)
    command(format=format)
    shown = capsys.readouterr().out
    assert "wrong, silently" in shown
    assert shown == {"markdown": document, "csv": to_csv, "terminal": lambda found: matrix(found).to_text()}[format](
        findings
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"libraries": ["nope"]}, ["--library nope", "curvlinops"]),
        ({"options": ["nope"]}, ["--option nope", "circular"]),
        ({"reproduce": "curvlinops"}, ["LIBRARY:OPTION"]),
        ({"reproduce": "curvlinops:nope"}, ["--option nope"]),
        ({"reproduce": "backpack:reduce"}, ["BackPACK cannot be asked", "one form"]),
        ({"reproduce": "backpack:plain", "format": TableFormat.csv}, ["--reproduce"]),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(options, words):
    with pytest.raises(UserError) as refused:
        command(**options)
    assert "\n" not in str(refused.value)
    assert all(word in str(refused.value) for word in words)


def test_the_command_line_knows_it(tmp_path):
    assert_refused(cli_here("audit", "--library", "nope", cwd=tmp_path), "--library nope: no such library")


def test_a_cells_script_is_printed_as_it_is(capsys):
    command(reproduce="curvlinops:circular")
    assert capsys.readouterr().out == script(LIBRARIES["curvlinops"], OPTIONS["circular"])


def test_a_library_that_is_not_installed_is_said_to_be_so(monkeypatch):
    absent = dataclasses.replace(LIBRARIES["asdl"], module="nothing_of_this_name")
    findings = audit([absent], [OPTIONS["plain"], OPTIONS["reduce"]])
    assert [finding.verdict for finding in findings] == [Verdict.MISSING, Verdict.NONE]
    assert findings[0].detail == "pip install asdfghjkl"
    monkeypatch.setitem(running.LIBRARIES, "asdl", absent)
    assert matrix(findings).rows[0] == ["plain 3x3", "not installed"]


def peer(tmp_path, monkeypatch, lines):
    """Stand in for the worker: a library's process runs these lines."""
    (tmp_path / "worker.py").write_text(lines)
    call = subprocess.run

    def run(command, **options):
        assert command[1:4] == ["-m", "kfc_bench.audit.worker", "asdl"]
        return call([sys.executable, str(tmp_path / "worker.py")], **options)

    monkeypatch.setattr(running.subprocess, "run", run)


ANSWER = """
print('{"option": "plain", "blocks": {"weight": {"found": [2, 2], "expected": [2, 2], "rel_error": 0.0, '
      '"factor": 1.0, "scaled_error": 0.0}}, "said": [], "exception": "", "failed": ""}', flush=True)
"""


@pytest.mark.parametrize(
    ("lines", "limit", "reason"),
    [
        ("raise ImportError('no FisherConfig')", 60, "the process ended with 1: ImportError: no FisherConfig"),
        ("import time; time.sleep(60)", 3, "no answer within 3 s"),
        ("import os; print('{\"option\": \"str', end='', flush=True); os._exit(3)", 60, "the process ended with 3"),
    ],
    ids=["raises", "hangs", "dies"],
)
def test_a_library_that_fails_takes_no_other_with_it(lines, limit, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "LIMIT_S", limit)
    peer(tmp_path, monkeypatch, ANSWER + lines)
    findings = audit([LIBRARIES["asdl"]], [OPTIONS[name] for name in ("plain", "stride", "reduce")])
    assert [finding.verdict for finding in findings] == [Verdict.RIGHT, Verdict.BROKEN, Verdict.NONE]
    assert findings[1].detail.startswith(reason)


def test_a_library_that_never_answered_is_not_judged(tmp_path, monkeypatch):
    peer(tmp_path, monkeypatch, "import nothing_of_this_name")
    findings = audit([LIBRARIES["asdl"]], [OPTIONS["plain"], OPTIONS["stride"]])
    assert {finding.verdict for finding in findings} == {Verdict.BROKEN}
    assert all("nothing_of_this_name" in finding.detail for finding in findings)


def test_findings_of_two_versions_of_torch_are_shown_with_both():
    findings = read_csv(committed())[:2]
    other = dataclasses.replace(findings[1], torch="3.0")
    assert matrix([findings[0], other]).title == f"Options against float64 (torch {findings[0].torch}, 3.0)"


def test_names_come_in_the_order_of_the_tables():
    libraries, options = chosen(["backpack", "kfc_bench"], ["circular", "plain"])
    assert [library.name for library in libraries] == ["kfc_bench", "backpack"]
    assert [option.name for option in options] == ["plain", "circular"]
    assert len(chosen([], [])[1]) == len(OPTIONS)


def test_findings_survive_their_file(tmp_path):
    findings = read_csv(committed())
    (tmp_path / "again.csv").write_text(to_csv(findings))
    assert read_csv(tmp_path / "again.csv") == findings
    assert to_csv(findings) == committed().read_text()


@pytest.mark.parametrize("text", ["", "library,option\na,b\n", "\x00"])
def test_another_file_is_refused(text, tmp_path):
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(UserError, match=r"other\.csv: not an audit's"):
        read_csv(tmp_path / "other.csv")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"kfc-bench audit --format csv"):
        read_csv(tmp_path / "none.csv")
