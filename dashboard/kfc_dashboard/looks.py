"""Names, colours and shapes of the approximations: the same on every page, whatever else is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LABELS = {
    "sgd": "SGD",
    "kfc": "KFC",
    "kfc_reduce": "KFC, reduce",
    "kfc_eigen": "KFC, exact damping",
    "ekfac": "EKFAC",
    "sua": "KFC under SUA",
    "prong": "PRONG",
    "mini_block": "mini-blocks",
    "block_diagonal": "block diagonal",
}

# Okabe and Ito's palette, grey in the place of its black, which a dark page would swallow; then what lies farthest from
# it and from one another, seen with all cones and without the red or the green ones (dE of 18 in CIELAB at least).
COLOURS = {
    "sgd": "#8a8a8a",
    "kfc": "#0072B2",
    "kfc_reduce": "#56B4E9",
    "kfc_eigen": "#B66DFF",
    "ekfac": "#920000",
    "sua": "#117733",
    "prong": "#A6761D",
    "diagonal": "#E69F00",
    "mini_block": "#882255",
    "block_diagonal": "#009E73",
    "exact": "#CC79A7",
}
HEXAGON = "M0,-1L0.87,-0.5L0.87,0.5L0,1L-0.87,0.5L-0.87,-0.5Z"
HOURGLASS = "M-0.9,-0.9L0.9,-0.9L-0.9,0.9L0.9,0.9Z"
STAR = "M0,-1L0.29,-0.4L0.95,-0.31L0.48,0.15L0.59,0.81L0,0.5L-0.59,0.81L-0.48,0.15L-0.95,-0.31L-0.29,-0.4Z"
SHAPES = {
    "sgd": "circle",
    "kfc": "square",
    "kfc_reduce": "triangle-down",
    "kfc_eigen": "triangle-left",
    "ekfac": STAR,
    "sua": HEXAGON,
    "prong": HOURGLASS,
    "diagonal": "triangle-up",
    "mini_block": "triangle-right",
    "block_diagonal": "diamond",
    "exact": "cross",
}
SPARE_COLOURS = ("#D55E00", "#999933", "#CC6677")
SPARE_SHAPES = ("wedge", "arrow", "stroke")


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
