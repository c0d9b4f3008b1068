"""``kfc-bench profile``, end to end on the smallest network."""

import csv
import io
import json

import pytest

from kfc_bench.cli import app
from kfc_bench.commands.profile import input_shape
from kfc_bench.errors import UserError
from tests.helpers import assert_refused, cli_here, journal_lines


def profiled(*options):
    app(["profile", "digits_small", "--batch", "2", "--device", "cpu", *options], standalone_mode=False)


def test_a_step_is_taken_apart_kept_and_shown_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    profiled("--clip", "0.3", "--trace", "trace.json", "--format", "markdown")
    shown = capsys.readouterr()
    assert "**kfc, clip 0.3 on digits_small, batch 2" in shown.out
    assert "| sampled backward |" in shown.out
    assert "\n| conv2 | Conv2d |" in shown.out
    assert "The parts add up to" in shown.out
    for written in ("profile.csv", "profiles.csv", "report.md"):
        assert f"wrote results/profile-digits_small/{written}" in shown.err
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert any(event.get("name") == "kfc: output factor fc" for event in events)
    report = (tmp_path / "results" / "profile-digits_small" / "report.md").read_text()
    assert "kfc-bench profile digits_small --approximation kfc --batch 2 --clip 0.3" in report
    (record,) = journal_lines(tmp_path / "results" / "profile-digits_small")
    assert (record["experiment"], record["status"]) == ("profile", "ok")
    assert record["visits"] >= 6
    assert record["parts_s"] == pytest.approx(sum(part["per_step_s"] for part in record["parts"]))
    profiled("--clip", "0.3", "--format", "csv")
    assert len(journal_lines(tmp_path / "results" / "profile-digits_small")) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["call_s"]) for row in rows] == pytest.approx([part["call_s"] for part in record["parts"]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--approximation", "kfca"), "did you mean 'kfc'"),
        (("--batch", "0"), "batch = 0 must be at least 1"),
        (("--input", "3xx"), "--input '3xx': the shape of one example is needed"),
        (("--device", "tpu"), "device 'tpu' is not one of"),
        (("--trace", "nowhere/trace.json"), "nowhere is no folder that can be written to"),
    ],
)
def test_a_mistake_is_named_and_leaves_nothing(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        profiled(*options)
    assert not list(tmp_path.iterdir())


def test_an_unknown_network_gets_one_line(tmp_path):
    assert_refused(cli_here("profile", "digit", cwd=tmp_path), "did you mean 'digits'")


def test_the_shape_of_an_example():
    assert input_shape("3x224x224") == [3, 224, 224]
    assert input_shape("16") == [16]
    for text in ("", "0x3", "3x", "3,4", "-1"):
        with pytest.raises(UserError, match="the shape of one example"):
            input_shape(text)
