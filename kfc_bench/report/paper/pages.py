"""The two pages and their pictures, written."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from kfc_bench.errors import UserError
from kfc_bench.report.files import write_text
from kfc_bench.report.paper import choosing, document
from kfc_bench.report.paper.evidence import Evidence
from kfc_bench.report.paper.figures import DRAWN, figure, sections

CHOOSING = "choosing.md"
MODULES = ("altair", "vl_convert")


def pictures(evidence: Evidence, path: Path) -> list[str]:
    """Return the names of a page's pictures: those that the results can be drawn as, and Figs. 3 and 4 that lie there.

    Args:
        evidence: The results.
        path: The page.

    Returns:
        Keys of `document.PICTURES`, in its order.
    """
    folder = path.parent / path.stem
    return [
        name
        for name in document.PICTURES
        if (sections(evidence, name) if name in DRAWN else (folder / f"{name}.svg").exists())
    ]


def write_pages(evidence: Evidence, path: Path) -> list[Path]:
    """Write the page on the paper, the page on choosing beside it, and the pictures.

    Args:
        evidence: The results.
        path: The page on the paper; pictures lie in a folder beside it that has its name.

    Returns:
        The files written.

    Raises:
        UserError: The page has the name of the other; altair is needed and absent, or a file cannot be written.
    """
    if path.name.lower() == CHOOSING:
        raise UserError(f"{path}: {CHOOSING} is the page that is written beside it; give this one another name")
    shown = pictures(evidence, path)
    drawn = [name for name in shown if name in DRAWN]
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if drawn and missing:
        raise UserError(
            f"pictures are drawn by {', '.join(missing)}, not installed: pip install 'kfc-bench[dashboard]'"
        )
    texts = {
        path: document.render(evidence, path, shown),
        path.parent / CHOOSING: choosing.render(evidence, path.parent / CHOOSING),
        **{path.parent / path.stem / f"{name}.svg": figure(evidence, name) for name in drawn},
    }
    for target, text in texts.items():
        write_text(text, target)
    return list(texts)
