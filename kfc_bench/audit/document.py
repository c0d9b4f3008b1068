"""docs/audit.md: how to read the audit, its table, and each claim with the lines that reproduce it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.script import common_lines, own_lines
from kfc_bench.audit.table import header, matrix
from kfc_bench.audit.verdicts import MEANING, UNJUDGED, WRONG, Finding, Verdict
from kfc_bench.report.tables import TextTable

INTRODUCTION = """\
# Audit: which options each library gets right

K-FAC libraries are asked about one layer at a time: a small network in float64 whose first layer has the option in
question, three outputs behind it, five examples. Each library is called as its documentation says and gives its
Kronecker factors of that layer; their product is its K-FAC block of the layer, in the scale in which the library itself
uses it, or leaves it to be used. Beside it stands the block that follows from the layer's own outputs: a layer is
linear in its weight, so its outputs at each unit weight are its patches, whatever its stride, padding or groups are;
the output factor comes from autograd and the loss's own Hessian. No im2col is in it, neither ours nor a library's.

- What is compared is the block, not its factors, so that it does not matter how a library divides a scale between the
  two ([conventions](conventions.md)). Of a layer with groups, only entries that belong to one group count: nobody is
  held to what lies between groups.
- A library is held to its own convention: what it documents, or a rule that it keeps for all layers alike. The list
  below has them. Where a scale differs from one kind of layer to another, it is no convention but a verdict:
  "right but for a constant".
- "Silently" means: no exception, no warning, log or printed line that the plain layer does not give as well, and
  no word in the docstrings of the code that runs.
- Nothing here is about speed, and an exception is no fault: where an option is not supported, it serves a user best.
- Not asked: transposed convolutions, and modules that run twice, for which no two libraries agree on what K-FAC means.

This page is written by a command, which also prints any cell's script:

    kfc-bench audit --format markdown --out docs/audit.md
    kfc-bench audit --reproduce curvlinops:circular

`results/audit/audit.csv` has the same findings with all numbers (`kfc-bench audit --format csv`).
"""
BAR = r"\|"


def document(findings: Sequence[Finding]) -> str:
    """Write the page.

    Args:
        findings: The audit.

    Returns:
        Markdown.
    """
    return "\n".join(
        [
            INTRODUCTION,
            _verdicts(findings),
            _conventions(findings),
            "## The table\n",
            matrix(findings, bold=True).to_markdown(),
            _options(findings),
            *_faults(findings),
            *_refusals(findings),
            *_unjudged(findings),
        ]
    )


def _verdicts(findings: Sequence[Finding]) -> str:
    given = {finding.verdict for finding in findings}
    lines = [f"| {verdict} | {MEANING[verdict]} |" for verdict in Verdict if verdict in given]
    return "\n".join(["| verdict | meaning |", "|---|---|", *lines, ""]) + (
        "\nIn brackets: the relative error, the constant, the rows of the block, or the exception."
        " Reasons stand at the end.\n"
    )


def _conventions(findings: Sequence[Finding]) -> str:
    lines = []
    for name, title in header(findings).items():
        library = LIBRARIES[name]
        fisher = "empirical" if library.states.get("fisher") == "empirical" else "type-2"
        lines.append(f"| {title} | {fisher} | {library.convention.replace('|', BAR)} |")
    return "\n".join(["| library | Fisher | its block |", "|---|---|---|", *lines, ""])


def _options(findings: Sequence[Finding]) -> str:
    asked = {finding.option for finding in findings}
    rows = [[option.title, option.asks, f"`{option.layer}`"] for name, option in OPTIONS.items() if name in asked]
    return TextTable("What each option asks, and the layer", ["option", "asks", "layer"], rows).to_markdown()


def faults(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Group what is wrong: per library and family of options, in the order of the tables.

    Args:
        findings: The audit.

    Returns:
        The groups.
    """
    wrong = [finding for finding in findings if finding.verdict in WRONG]
    places = {name: place for place, name in enumerate(LIBRARIES)}
    families = list(dict.fromkeys(option.told_as for option in OPTIONS.values()))

    def key(finding: Finding) -> tuple[int, int]:
        return places[finding.library], families.index(OPTIONS[finding.option].told_as)

    return [list(group) for _, group in groupby(sorted(wrong, key=key), key)]


def _faults(findings: Sequence[Finding]) -> list[str]:
    groups = faults(findings)
    if not groups:
        return ["## What is wrong\n\nNothing was found.\n"]
    return [
        "## What is wrong, and how to see it\n",
        "Each of these scripts needs torch and the library. It begins with what float64 makes of a layer:\n",
        f"```python\n{common_lines()}```\n",
        "and goes on with its own:\n",
        *map(_fault, groups),
    ]


def _fault(group: Sequence[Finding]) -> str:
    first = group[0]
    library, option = LIBRARIES[first.library], OPTIONS[first.option]
    cells = "; ".join(f"{OPTIONS[finding.option].title}: {finding.words()}" for finding in group)
    documented = library.documented.get(option.told_as)
    quoted = f" Its documentation says so: {documented}." if documented else ""
    links = library.links.get(option.told_as, ())
    asked = f" See also {_links(links)}." if links else ""
    titles = ", ".join(OPTIONS[finding.option].title for finding in group)
    return (
        f"### {library.title} {first.version}: {titles}\n\n{cells}.\n\n"
        f"{library.notes.get(option.told_as, '')}{quoted}{asked}\n\n```python\n{own_lines(library, option)}```\n"
    )


def _refusals(findings: Sequence[Finding]) -> list[str]:
    refused = [finding for finding in findings if finding.verdict == Verdict.REFUSES]
    titles = header(findings)
    rows = []
    for finding in refused:
        option = OPTIONS[finding.option]
        links = _links(LIBRARIES[finding.library].links.get(option.told_as, ()))
        rows.append([titles[finding.library], option.title, f"`{finding.detail}`", links])
    table = TextTable("Exceptions, their first line", ["library", "option", "exception", "see also"], rows)
    return ["## What is refused, and in which words\n", table.to_markdown()] if rows else []


def _unjudged(findings: Sequence[Finding]) -> list[str]:
    titles = header(findings)
    options: dict[tuple[str, str, str], list[str]] = {}
    for finding in findings:
        if finding.verdict in UNJUDGED:
            why = (titles[finding.library], str(finding.verdict), finding.detail)
            options.setdefault(why, []).append(OPTIONS[finding.option].title)
    rows = [[library, "; ".join(names), verdict, reason] for (library, verdict, reason), names in options.items()]
    table = TextTable("Reasons", ["library", "options", "verdict", "reason"], rows)
    return ["## What is not asked or not judged, and why\n", table.to_markdown()] if rows else []


def _links(links: Sequence[str]) -> str:
    return ", ".join(f"<{link}>" for link in links)
