"""The audit as a table: one row per finding in CSV, options by libraries in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.verdicts import WRONG, Finding, Verdict
from kfc_bench.errors import UserError
from kfc_bench.report.tables import TextTable
from kfc_bench.resources import share

COLUMNS = tuple(field.name for field in dataclasses.fields(Finding))
NUMBERS = {"rel_error": float, "factor": float, "found": int, "expected": int}


def committed() -> Path:
    """Return the file of the committed audit."""
    return share("results") / "audit" / "audit.csv"


def frame(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return findings as a frame of words and numbers, one row each.

    Args:
        findings: The findings.

    Returns:
        `COLUMNS`.
    """
    rows: list[dict[str, Any]] = [dataclasses.asdict(finding) for finding in findings]
    for row in rows:
        for name in NUMBERS:
            row[name] = "" if row[name] is None else f"{row[name]:g}"
    return pd.DataFrame(rows, columns=list(COLUMNS))


def to_csv(findings: Sequence[Finding]) -> str:
    """Write findings.

    Args:
        findings: The findings.

    Returns:
        CSV.
    """
    return frame(findings).to_csv(index=False, lineterminator="\n")


def read_csv(path: Path) -> list[Finding]:
    """Read what `to_csv` wrote.

    Args:
        path: The file.

    Returns:
        The findings.

    Raises:
        UserError: There is no such file, or it is not an audit's.
    """
    try:
        stored = pd.read_csv(path, dtype=str, keep_default_na=False)
        findings = []
        for row in stored[list(COLUMNS)].to_dict("records"):
            values: dict[str, Any] = {str(name): value for name, value in row.items()}
            for name, kind in NUMBERS.items():
                values[name] = kind(values[name]) if values[name] else None
            findings.append(Finding(**{**values, "verdict": Verdict(values["verdict"])}))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; make one with: kfc-bench audit --format csv --out FILE") from error
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: not an audit's CSV file, or damaged: {error}") from error
    return findings


def torch_versions(findings: Sequence[Finding]) -> str:
    """Name the versions of torch that the findings are of, usually one."""
    return ", ".join(sorted({finding.torch for finding in findings}))


def header(findings: Sequence[Finding]) -> dict[str, str]:
    """Return each library of the findings, by name, as a title with its version."""
    versions = {finding.library: finding.version for finding in findings}
    return {
        name: f"{library.title} {versions[name]}".strip() for name, library in LIBRARIES.items() if name in versions
    }


def matrix(findings: Sequence[Finding], *, bold: bool = False) -> TextTable:
    """Show options by libraries.

    Args:
        findings: The findings.
        bold: Whether what is wrong stands in bold, as Markdown writes it.

    Returns:
        The table.
    """
    cells = {(finding.option, finding.library): _cell(finding, bold=bold) for finding in findings}
    titles = header(findings)
    rows = [
        [option.title, *(cells.get((name, library), "-") for library in titles)]
        for name, option in OPTIONS.items()
        if any((name, library) in cells for library in titles)
    ]
    return TextTable(f"Options against float64 (torch {torch_versions(findings)})", ["option", *titles.values()], rows)


def _cell(finding: Finding, *, bold: bool) -> str:
    return f"**{finding.words()}**" if bold and finding.verdict in WRONG else finding.words()
