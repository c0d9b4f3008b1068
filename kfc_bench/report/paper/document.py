"""docs/paper.md: every figure, table and statement of the paper, and what the results say of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kfc_bench.report.paper.evidence import Evidence
from kfc_bench.report.paper.reference import Item, reference
from kfc_bench.report.paper.rules import RULES
from kfc_bench.report.paper.verdicts import Finding
from kfc_bench.report.tables import TextTable

OPENING = """# The paper's figures and tables, and ours

Grosse and Martens, *A Kronecker-factored approximate Fisher matrix for convolution layers* (ICML 2016,
arXiv 1602.01407), item by item. `kfc-bench paper` writes this page from result files; nothing in it is written by hand
but what the paper shows, the rules, and how we deviate. A verdict is made by the rule beside it, from numbers alone:

- **reproduced**: every claim of the rule holds, on the paper's own data;
- **partly**: some claims hold, or all do on data that stands in for the paper's;
- **not reproduced**: none holds;
- **not run**: there are no results that could tell;
- **held by tests**: a statement that is proved or defined, and that tests check in every build.

Ratios are geometric means over paired seeds, differences their means, with 95 % t intervals in brackets. Where a level
is one that both optimizers reach, it is the worse of their best values, seed by seed; evaluations are joined by lines.
Digitised error rates are good to about 0.003, log-likelihoods to 0.01, and log axes to 3 %."""

PICTURES = {
    "fig1": "Fig. 1: ours beside the paper's, digitised",
    "fig2": "Fig. 2: error by updates, ours beside the paper's",
    "fig3": "Fig. 3: correlations of derivatives",
    "fig4": "Fig. 4: correlations of activations",
    "fig5": "Fig. 5: batch normalisation",
}


def render(evidence: Evidence, document: Path, pictures: Sequence[str] = ()) -> str:
    """Write the page.

    Args:
        evidence: The results.
        document: Where the page will lie; links are relative to it.
        pictures: Those of `PICTURES` that lie as SVG in the folder beside the page that has its name.

    Returns:
        Markdown.
    """
    findings = [(item, RULES[item.rule](evidence, item)) for item in reference().items]
    rows = [[item.title, str(finding.verdict), _where(evidence, item, finding, document)] for item, finding in findings]
    overview = TextTable("Verdicts", ["item", "verdict", "evidence"], rows).to_markdown()
    details = [_details(evidence, item, finding, document) for item, finding in findings]
    shown = [f"![{PICTURES[name]}]({document.stem}/{name}.svg)" for name in pictures]
    figures = "\n\n".join(["## Figures", *shown]) if shown else ""
    return "\n\n".join(part for part in (OPENING, overview.rstrip(), figures, *details) if part) + "\n"


def _where(evidence: Evidence, item: Item, finding: Finding, document: Path) -> str:
    return ", ".join(f"`{path}`" for path in item.tests) or evidence.links(finding.runs, document) or "-"


def _details(evidence: Evidence, item: Item, finding: Finding, document: Path) -> str:
    known = reference()
    lines = [
        f"### {item.title}",
        "",
        f"- The paper ({item.read}): {item.shows}",
        f"- Rule: {known.rules[item.rule]}",
    ]
    if finding.setting:
        lines.append(f"- Our setting: {finding.setting}.")
    if item.rule in known.deviations:
        lines.append(f"- Deviations: {known.deviations[item.rule]}")
    lines += ["- Ours:", *(f"    - {claim}" for claim in finding.claims)] if finding.claims else []
    reason = f" ({finding.reason})" if finding.reason else ""
    lines += [f"- Verdict: **{finding.verdict}**{reason}", f"- Evidence: {_where(evidence, item, finding, document)}"]
    return "\n".join(lines)
