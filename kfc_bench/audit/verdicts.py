"""From what a script showed to a verdict on one library and one option."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kfc_bench.audit.library import Library
from kfc_bench.audit.options import Option

BOUND = 1e-8
"""Relative error up to which float64 results count as the same; what is right lies near 1e-15."""


class Verdict(StrEnum):
    """What can be said of a library and an option."""

    RIGHT = "right"
    REFUSES = "refuses"
    SILENT = "wrong, silently"
    SHAPE = "wrong shape"
    WARNS = "wrong, with a warning"
    DOCUMENTED = "differs, as documented"
    SCALED = "right but for a constant"
    LEFT_OUT = "left out"
    NONE = "not asked"
    BROKEN = "not judged"
    MISSING = "not installed"


MEANING = {
    Verdict.RIGHT: f"within {BOUND:g} of float64, relative to its norm",
    Verdict.REFUSES: "an exception; its words are listed below",
    Verdict.SILENT: "a block of the layer's size comes back, without a word, and it is not the layer's",
    Verdict.SHAPE: "a block comes back, without a word, of another size than the layer's weight: it fits no gradient",
    Verdict.WARNS: "a wrong block, but with a warning, a logged or a printed line that the plain layer does not give",
    Verdict.DOCUMENTED: "another block, and the library's documentation says so",
    Verdict.SCALED: "the layer's block times a constant that the library's layers of other kinds do not have",
    Verdict.LEFT_OUT: "no exception, but the layer has no block, or not the blocks that were asked for",
    Verdict.NONE: "its public interface offers no way to ask for it; each cell has its reason",
    Verdict.BROKEN: "the call failed outside the library, or the plain layer is not right; each cell has its reason",
    Verdict.MISSING: "the library is not there",
}
WRONG = (Verdict.SILENT, Verdict.SHAPE, Verdict.WARNS, Verdict.DOCUMENTED, Verdict.SCALED, Verdict.LEFT_OUT)
"""What is told with the lines that reproduce it."""
UNJUDGED = (Verdict.NONE, Verdict.BROKEN, Verdict.MISSING)
"""What says nothing of a library, and is told with its reason."""


@dataclass(frozen=True)
class Finding:
    """One cell of the audit.

    Attributes:
        library: The library's word on the command line.
        version: Its version; empty where it is not installed.
        torch: torch's version.
        option: The option's word.
        verdict: What can be said.
        blocks: Which blocks came, such as ``"weight"``.
        fisher: Of which Fisher: ``"type2"``, ``"empirical"`` or ``"normal"``.
        rel_error: The largest relative error of a block, infinite where it is not finite; None where shapes differ or
            nothing came.
        factor: The constant nearest to the result over float64's block, of the block with the largest error.
        found: That block's side.
        expected: The side that it should have.
        detail: The exception, the warning, the quotation or the reason.
    """

    library: str
    version: str
    torch: str
    option: str
    verdict: Verdict
    blocks: str = ""
    fisher: str = ""
    rel_error: float | None = None
    factor: float | None = None
    found: int | None = None
    expected: int | None = None
    detail: str = ""

    def words(self) -> str:
        """Return the verdict with the number, or the exception, that belongs to it."""
        if self.verdict == Verdict.REFUSES:
            return f"{self.verdict} ({self.detail.partition(':')[0]})"
        if self.verdict == Verdict.LEFT_OUT and self.blocks:
            return f"{self.verdict} (came: {self.blocks})"
        if self.verdict == Verdict.SCALED:
            return f"{self.verdict} ({self.factor:.3g})"
        if self.verdict == Verdict.RIGHT and self.detail:
            return f"{self.verdict} ({self.detail})"
        if self.found != self.expected:
            return f"{self.verdict} ({self.found} rows, not {self.expected})"
        if self.verdict in WRONG and self.rel_error is not None:
            return f"{self.verdict} ({self.rel_error:.3g})"
        return str(self.verdict)


def judge(library: Library, option: Option, record: dict[str, Any], plain: dict[str, Any], torch: str) -> Finding:
    """Judge what one script showed.

    Args:
        library: The library.
        option: The option.
        record: What `kfc_bench.audit.worker.observe` returned.
        plain: The same of the plain convolution: what is said there too says nothing about the option.
        torch: torch's version.

    Returns:
        The finding.
    """

    def finding(verdict: Verdict, detail: str = "", **measured: Any) -> Finding:
        return Finding(library.name, library.version, torch, option.name, verdict, detail=detail, **measured)

    failed = plain["failed"] or plain["exception"] or record["failed"]
    if failed or not plain["blocks"] or any(_error(block) > BOUND for block in plain["blocks"].values()):
        return finding(Verdict.BROKEN, failed or "the plain convolution's block is not float64's")
    if record["exception"]:
        return finding(Verdict.REFUSES, record["exception"])
    said = [line for line in record["said"] if line not in plain["said"]]
    if not record["blocks"]:
        return finding(Verdict.LEFT_OUT, said[0] if said else str(library.documented.get(option.told_as, "")))
    worst = max(record["blocks"].values(), key=_error)
    measured = {
        "blocks": ", ".join(record["blocks"]),
        "fisher": library.stated(option.needs).get("fisher", "type2"),
        "rel_error": None if worst["rel_error"] is None else _rounded(_error(worst)),
        "factor": _rounded(worst.get("factor")),
        "found": worst["found"][0],
        "expected": worst["expected"][0],
    }
    if _error(worst) <= BOUND:
        if option.frozen and [*record["blocks"]] == ["weight and bias"]:
            return finding(Verdict.RIGHT, "the frozen bias is in the block too", **measured)
        if not {*option.blocks} <= {*record["blocks"]}:
            return finding(Verdict.LEFT_OUT, said[0] if said else "", **measured)
        return finding(Verdict.RIGHT, "for unit variance" if measured["fisher"] == "normal" else "", **measured)
    if said:
        return finding(Verdict.WARNS, said[0], **measured)
    if option.told_as in library.documented:
        return finding(Verdict.DOCUMENTED, str(library.documented[option.told_as]), **measured)
    if worst["found"] != worst["expected"]:
        return finding(Verdict.SHAPE, "", **measured)
    if worst["scaled_error"] <= BOUND * abs(worst["factor"]):
        return finding(Verdict.SCALED, f"{worst['factor']:.3g} times the block", **measured)
    return finding(Verdict.SILENT, "", **measured)


def _rounded(value: float | None) -> float | None:
    """Keep three digits, so that a finding and its row in a file are the same; None of what is no number."""
    return None if value is None or math.isnan(value) else float(f"{value:.3g}")


def _error(block: dict[str, Any]) -> float:
    """Return a block's relative error, infinite where it has no number."""
    error = block["rel_error"]
    return math.inf if error is None or math.isnan(error) else float(error)


def without_running(library: Library, option: Option, torch: str) -> Finding | None:
    """Judge what needs no run: a quantity that the library cannot be asked for, or a library that is not there."""
    if option.needs in library.lacks:
        return Finding(
            library.name, library.version, torch, option.name, Verdict.NONE, detail=library.lacks[option.needs]
        )
    if not library.installed:
        needs = f"pip install {library.distribution}"
        return Finding(library.name, "", torch, option.name, Verdict.MISSING, detail=needs)
    return None
