"""The audit's findings, as its page shows them. Nothing here needs streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.table import committed, matrix
from kfc_bench.audit.verdicts import Finding, Verdict

FILE = "audit.csv"

# Okabe and Ito's palette, each with the text that is readable on it; the words are in the cells all the same.
COLOURS = {
    Verdict.RIGHT: ("#CFE8F7", "#000000"),
    Verdict.REFUSES: ("#D9D9D9", "#000000"),
    Verdict.SILENT: ("#B34700", "#FFFFFF"),
    Verdict.SHAPE: ("#F6C7A8", "#000000"),
    Verdict.WARNS: ("#E69F00", "#000000"),
    Verdict.DOCUMENTED: ("#F0E442", "#000000"),
    Verdict.SCALED: ("#CC79A7", "#000000"),
    Verdict.LEFT_OUT: ("#0072B2", "#FFFFFF"),
}
"""Background and text by verdict; what says nothing of a library is left as the page is."""


def audit_file(folders: Sequence[Path]) -> Path:
    """Find the audit to show.

    Args:
        folders: Results folders.

    Returns:
        The first ``audit.csv`` that lies in one of them, or the committed one.
    """
    return next((folder / FILE for folder in folders if (folder / FILE).is_file()), committed())


def styled(findings: Sequence[Finding]) -> Styler:
    """Colour the table of options by libraries.

    Args:
        findings: The audit.

    Returns:
        The table, with the options as its index.
    """
    table = matrix(findings)
    frame = pd.DataFrame(table.rows, columns=table.header).set_index(table.header[0])
    return frame.style.map(_colours)


def _colours(words: str) -> str:
    named = [verdict for verdict in COLOURS if words.startswith(verdict)]
    if not named:
        return ""
    background, text = COLOURS[max(named, key=len)]
    return f"background-color: {background}; color: {text}"


def options_of(findings: Sequence[Finding], library: str) -> list[str]:
    """List the options that a library was asked about, what is wrong first.

    Args:
        findings: The audit.
        library: The library.

    Returns:
        Names of options.
    """
    ranks = {
        verdict: rank for rank, verdict in enumerate((Verdict.SILENT, Verdict.SHAPE, Verdict.SCALED, Verdict.LEFT_OUT))
    }
    ranks |= {verdict: len(ranks) for verdict in (Verdict.WARNS, Verdict.DOCUMENTED)}
    own = [finding for finding in findings if finding.library == library and finding.option in OPTIONS]
    ordered = sorted(own, key=lambda finding: ranks.get(finding.verdict, len(ranks) + 1))
    return [finding.option for finding in ordered]
