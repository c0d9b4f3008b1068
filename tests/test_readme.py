"""What the README shows is what the committed results say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kfc_bench.report.tables import tables
from kfc_bench.results.frames import load_results

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMITTED = ROOT / "results" / "cpu" / "quickstart"


def test_its_tables_come_from_the_committed_results():
    shown = README.split("<!-- summary of results/cpu/quickstart -->\n")[1].split("<!-- end of summary -->")[0]
    assert shown == "\n".join(table.to_markdown() for table in tables(load_results([COMMITTED])))


def test_it_says_where_the_numbers_were_measured():
    kinds = {environment["device_kind"] for environment in load_results([COMMITTED]).environments.values()}
    assert kinds == {"cpu"}
    assert "**These are CPU measurements" in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_its_links_lead_somewhere(target):
    assert (ROOT / target).exists()
