"""``kfc-bench paper`` as a user types it."""

import importlib.util

import pytest

from kfc_bench.cli import app
from kfc_bench.errors import UserError
from tests.helpers import write_run
from tests.report.paper.made import trials


def written(*arguments):
    app(["paper", *map(str, arguments)], standalone_mode=False)


@pytest.fixture
def results(tmp_path):
    write_run(tmp_path / "made", trials("fashion-fig2", "sgd", 1) + trials("fashion-fig2", "kfc_pre", 2))
    return tmp_path / "made"


def test_both_pages_and_the_picture_are_written(results, tmp_path, capsys):
    pytest.importorskip("altair")
    written(results, "--out", tmp_path / "docs" / "ours.md")
    names = ("ours.md", "choosing.md", "ours/fig2.svg")
    assert capsys.readouterr().out == "".join(f"wrote {tmp_path / 'docs' / name}\n" for name in names)
    page = (tmp_path / "docs" / "ours.md").read_text()
    assert "(ours/fig2.svg)" in page
    assert "| [made](../made) |" in page
    assert "[made](../made)" in (tmp_path / "docs" / "choosing.md").read_text()


def test_the_two_pages_have_two_names(results, tmp_path):
    with pytest.raises(UserError, match=r"choosing\.md is the page that is written beside it"):
        written(results, "--out", tmp_path / "docs" / "choosing.md")
    assert not (tmp_path / "docs").exists()


def test_without_altair_nothing_is_written_and_it_says_so(results, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"drawn by altair, vl_convert, not installed: pip install 'kfc-bench\[dash"):
        written(results, "--out", tmp_path / "docs" / "paper.md")
    assert not (tmp_path / "docs").exists()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such results folder"):
        written(tmp_path / "nowhere", "--out", tmp_path / "paper.md")
    assert list(tmp_path.iterdir()) == []
