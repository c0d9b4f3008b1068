"""What the README shows is what the committed results say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.prediction.held_out import past_error, read_held_out
from kfc_bench.report.static import static_table
from kfc_bench.report.static_gate import read_snapshot
from kfc_bench.report.summary import tables
from kfc_bench.results.frames import load_results

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SUMMARIES = re.findall(
    r"<!-- (training|contests|sizes|leads|profiles|runs|fidelity) of (results/\S+) -->\n(.*?)<!-- end of \1 -->",
    README,
    re.DOTALL,
)
TITLES = {
    "leads": "Our best beside",
    "training": "Against tuned SGD",
    "profiles": "Where a step's time goes",
    "runs": "A training run of",
    "contests": "time of a",
    "sizes": "Largest sizes",
    "fidelity": "Error of the whole network's matrix",
}
"""Which of a summary's tables are shown, by a word of their titles."""


def test_every_committed_result_is_quoted():
    folders = {path.parent.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("results/*/*/*/environment.json")}
    shown = {folder for _, folder, _ in SUMMARIES}
    method = (ROOT / "docs" / "method.md").read_text()
    assert all(f"`{folder}`" in method for folder in folders - shown)
    assert folders >= shown >= {"results/cpu/quickstart"}


@pytest.mark.parametrize(("which", "folder", "shown"), SUMMARIES, ids=[folder for _, folder, _ in SUMMARIES])
def test_its_tables_come_from_the_committed_results(which, folder, shown):
    found = [table for table in tables(load_results([ROOT / folder])) if TITLES[which] in table.title]
    assert shown == "\n".join(table.to_markdown() for table in found) != ""


@pytest.mark.parametrize("folder", [folder for _, folder, _ in SUMMARIES])
def test_it_says_where_the_numbers_were_measured(folder):
    kinds = {environment["device_kind"] for environment in load_results([ROOT / folder]).environments.values()}
    assert kinds == {"cpu"}
    assert "**These are CPU measurements" in README


def test_every_approximation_is_in_its_table():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (?:exact|factored Tikhonov)", README, re.MULTILINE)
    assert rows == [name for name in APPROXIMATIONS if name != "identity"]


def test_its_kernels_come_from_the_committed_snapshot():
    (path,) = (ROOT / "results" / "static").glob("*.csv")
    frame = read_snapshot(path)
    shown = frame.query("target == 'sm_90' and layer == '3x3-256' and kernel == 'lag_sums_kernel'")
    assert f"<!-- kernels -->\n{static_table(shown).to_markdown()}<!-- end of kernels -->\n" in README


def test_its_past_error_is_that_of_the_committed_table():
    rows = read_held_out(ROOT / "results")
    said = "".join(f"> {past_error(rows[rows['device'] == device])}\n" for device in rows["device"].unique())
    assert f"<!-- past error -->\n{said}<!-- end of past error -->\n" in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_its_links_lead_somewhere(target):
    assert (ROOT / target).exists()
