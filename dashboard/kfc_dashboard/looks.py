"""Names, colours and shapes of the approximations: the same on every page, whatever else is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LABELS = {"sgd": "SGD", "kfc": "KFC", "block_diagonal": "block diagonal"}

# Okabe and Ito's palette, grey in the place of its black, which a dark page would swallow.
COLOURS = {"sgd": "#8a8a8a", "kfc": "#0072B2", "diagonal": "#E69F00", "block_diagonal": "#009E73", "exact": "#CC79A7"}
SHAPES = {"sgd": "circle", "kfc": "square", "diagonal": "triangle-up", "block_diagonal": "diamond", "exact": "cross"}
SPARE_COLOURS = ("#D55E00", "#56B4E9", "#A6761D")
SPARE_SHAPES = ("triangle-down", "triangle-right", "triangle-left")


@dataclass(frozen=True)
class Look:
    """How an approximation is drawn."""

    label: str
    colour: str
    shape: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Give each approximation its look.

    Args:
        names: Every name there is in the results, not only those shown, so that a filter changes no colour.

    Returns:
        The known ones in their fixed order, then the others by name, which take spare colours in turn.
    """
    present = set(names)
    others = sorted(present - set(COLOURS))
    known = {name: Look(label(name), COLOURS[name], SHAPES[name]) for name in COLOURS if name in present}
    return known | {
        name: Look(label(name), SPARE_COLOURS[index % len(SPARE_COLOURS)], SPARE_SHAPES[index % len(SPARE_SHAPES)])
        for index, name in enumerate(others)
    }


def label(name: str) -> str:
    """Return the name as people write it."""
    return LABELS.get(name, name)
