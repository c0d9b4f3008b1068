"""The committed audit: what it must show, and that a fresh run and the page say the same."""

from __future__ import annotations

import importlib.util
import itertools
import re
from pathlib import Path

import pytest

from kfc_bench.audit.document import document, faults
from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.table import committed, read_csv
from kfc_bench.audit.verdicts import BOUND, WRONG, Finding, Verdict, judge, without_running
from kfc_bench.audit.worker import observe
from kfc_bench.measure.sources import PEERS as PACKAGES
from tests.audit.cases import PEERS, need

ROOT = Path(__file__).parents[2]
FINDINGS = read_csv(committed())
BY_CELL = {(finding.library, finding.option): finding for finding in FINDINGS}
ZEROS = ("circular", "reflect", "replicate")
GROUPS = ("groups", "depthwise")
SUMS = ("sum", "squared_sum")

FAULTS = {
    **{(library, option): Verdict.SILENT for library in PEERS for option in ZEROS},
    **{(library, option): Verdict.SHAPE for library in ("nngeometry", "asdl") for option in GROUPS},
    **{(library, option): Verdict.DOCUMENTED for library in ("curvlinops", "kronfluence") for option in GROUPS},
    **{("backpack", option): Verdict.REFUSES for option in GROUPS},
    **{("asdl", option): Verdict.SCALED for option in ("tokens", "grid")},
    **{(library, option): Verdict.LEFT_OUT for library in ("asdl", "kronfluence") for option in ("conv1d", "conv3d")},
    ("asdl", "dilation"): Verdict.REFUSES,
    **{(library, "same"): Verdict.REFUSES for library in ("backpack", "nngeometry", "asdl")},
    **{(library, "same"): Verdict.RIGHT for library in ("curvlinops", "kronfluence")},
    **{(library, "squared_mean"): Verdict.RIGHT for library in PEERS},
    **{(library, option): Verdict.NONE for library in ("nngeometry", "asdl", "kronfluence") for option in SUMS},
    **{("kronfluence", option): Verdict.RIGHT for option in ("plain", "linear", "tokens", "grid")},
}
"""What was known of these versions beforehand, read in their sources."""


def test_every_library_and_option_is_there_once():
    assert list(BY_CELL) == [(library, option) for library in LIBRARIES for option in OPTIONS]
    assert len(FINDINGS) == len(BY_CELL)


def test_nothing_was_left_unjudged():
    assert {finding.verdict for finding in FINDINGS}.isdisjoint({Verdict.MISSING, Verdict.BROKEN})
    assert all(finding.version and finding.torch for finding in FINDINGS)


@pytest.mark.parametrize("cell", FAULTS, ids=" ".join)
def test_what_was_known_is_reproduced(cell):
    assert BY_CELL[cell].verdict == FAULTS[cell]


def test_ours_has_no_error():
    assert {finding.verdict for finding in FINDINGS if finding.library == "kfc_bench"} == {Verdict.RIGHT, Verdict.NONE}


def test_the_page_is_what_the_command_writes_of_it():
    assert (ROOT / "docs" / "audit.md").read_text() == document(FINDINGS)


def test_every_claim_has_its_words_and_there_are_no_others():
    told = {(group[0].library, OPTIONS[group[0].option].told_as) for group in faults(FINDINGS)}
    assert told == {(name, family) for name, library in LIBRARIES.items() for family in library.notes}
    stated = {(name, family) for name, library in LIBRARIES.items() for family in library.documented}
    assert stated <= told


def test_every_link_is_printed_where_it_belongs():
    """A link of a family that no library gets wrong or refuses would never be seen."""
    page = document(FINDINGS)
    for name, library in LIBRARIES.items():
        for family, links in library.links.items():
            cells = [finding for finding in FINDINGS if OPTIONS[finding.option].told_as == family]
            own = {finding.verdict for finding in cells if finding.library == name}
            assert own & {Verdict.REFUSES, *WRONG}, (name, family)
            alone = document([finding for finding in FINDINGS if finding.library == name])
            assert all(f"<{link}>" in page and f"<{link}>" in alone for link in links)


def test_every_reason_is_printed():
    section = document(FINDINGS).partition("## What is not asked")[2]
    for library in LIBRARIES.values():
        for reason in library.lacks.values():
            assert f"| {library.title} " in section
            assert f"| not asked | {reason} |" in section


def test_a_library_that_failed_is_told_with_its_reason():
    findings = [Finding("asdl", "9", "2", "stride", Verdict.BROKEN, detail="ImportError: no FisherConfig")]
    assert "| not judged | ImportError: no FisherConfig |" in document(findings)


def test_the_conventions_page_says_of_groups_what_the_audit_says():
    text = " ".join((ROOT / "docs" / "conventions.md").read_text().split())
    titles = {
        verdict: [LIBRARIES[name].title for name in PEERS if BY_CELL[name, "groups"].verdict == verdict]
        for verdict in (Verdict.DOCUMENTED, Verdict.SHAPE)
    }
    assert f"the docstrings of {' and '.join(titles[Verdict.DOCUMENTED])} say that they take the mean" in text
    owners = " and ".join(f"{title}'s" for title in titles[Verdict.SHAPE])
    assert f"{owners} matrix has too many rows" in text


def test_no_cell_breaks_a_table_of_the_page():
    lines = (ROOT / "docs" / "audit.md").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if before.startswith("| ") and line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", before)) == len(re.findall(r"(?<!\\)\|", line)), line


def test_words_of_families_and_needs_are_known():
    families = {option.told_as for option in OPTIONS.values()}
    needs = {option.needs for option in OPTIONS.values() if option.needs}
    for library in LIBRARIES.values():
        assert {*library.notes, *library.documented, *library.links} <= families
        assert {*library.arguments, *library.lacks, *library.states_for} <= needs
        assert not {*library.arguments} & {*library.lacks}


def test_the_peers_are_the_packages_that_the_environment_record_has():
    assert sorted(LIBRARIES[name].distribution for name in PEERS) == sorted(PACKAGES)


QUICK = (
    "plain",
    "circular",
    "depthwise",
    "same_even",
    "conv1d",
    "bias_apart",
    "bias_joint",
    "tokens",
    "sum",
    "squared_mean",
)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_fresh_run_says_the_same(name):
    library = LIBRARIES[name]
    need(library)
    if name in PEERS and library.version != BY_CELL[name, "plain"].version:
        pytest.skip(f"the committed audit is of version {BY_CELL[name, 'plain'].version}")
    plain = observe(library, OPTIONS["plain"])
    for option in QUICK if name in PEERS else OPTIONS:
        stored = BY_CELL[name, option]
        found = without_running(library, OPTIONS[option], "") or judge(
            library, OPTIONS[option], observe(library, OPTIONS[option]), plain, ""
        )
        assert (found.verdict, found.detail, found.blocks, found.found, found.expected) == (
            stored.verdict,
            stored.detail,
            stored.blocks,
            stored.found,
            stored.expected,
        )
        if stored.rel_error is not None:
            assert found.rel_error == pytest.approx(stored.rel_error, rel=0.02, abs=BOUND)


@pytest.mark.parametrize("name", PEERS)
def test_a_quoted_docstring_is_there(name):
    """A quotation is held to the source of the module that it names."""
    library = LIBRARIES[name]
    need(library)
    for quotation in library.documented.values():
        text = Path(importlib.util.find_spec(quotation.module).origin).read_text()
        assert quotation.words in " ".join(text.replace("`", "").split())


def test_the_quoted_scale_of_nngeometrys_squared_error_is_there():
    need(LIBRARIES["nngeometry"])
    (quoted,) = re.findall('"(.+?)"', LIBRARIES["nngeometry"].convention)
    text = Path(importlib.util.find_spec("nngeometry.metrics").origin).read_text()
    assert quoted in " ".join(text.split())


def test_links_lead_to_issues_of_projects():
    for library in LIBRARIES.values():
        for link in (link for links in library.links.values() for link in links):
            assert re.fullmatch(r"https://github\.com/[\w-]+/[\w-]+/(issues|pull)/\d+", link)
