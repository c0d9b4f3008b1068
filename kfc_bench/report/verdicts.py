"""SAME, FASTER, SLOWER or UNCLEAR: one verdict per case, with many cases allowed for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from scipy.stats import false_discovery_control, t

from kfc_bench.errors import UserError

TOLERANCE = 0.03
"""Relative difference that does not matter: about what another memory layout does to the same code."""

FALSE_DISCOVERIES = 0.05
"""Expected share of wrong ones among the cases called FASTER or SLOWER (Benjamini & Hochberg 1995)."""


class Verdict(StrEnum):
    """How B's time stands to A's.

    Attributes:
        SAME: The interval of the ratio lies within the tolerance.
        FASTER: B takes less time, by more than the tolerance, after allowing for the number of cases.
        SLOWER: B takes more time, likewise.
        UNCLEAR: Neither can be said.
        BROKEN: A has a time and B has none.
        MENDED: B has a time and A has none.
        MISSING: A has a time and B has no record of the case.
    """

    SAME = "SAME"
    FASTER = "FASTER"
    SLOWER = "SLOWER"
    UNCLEAR = "UNCLEAR"
    BROKEN = "BROKEN"
    MENDED = "MENDED"
    MISSING = "MISSING"


class Ratio(Protocol):
    """An estimate of B's time over A's."""

    @property
    def ratio(self) -> float:
        """The estimate."""

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return its interval, or None where nothing can be said."""

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value of "at most ``bound``"."""

    def p_below(self, bound: float) -> float:
        """Return the one-sided p-value of "at least ``bound``"."""


@dataclass(frozen=True)
class StoredRatio:
    """Two medians from two runs, whose speeds differ by more than either run's own interval tells.

    Attributes:
        ratio: B's median over A's.
        deviation: Standard deviation of the ratio's logarithm, between-run term included.
        degrees: Degrees of freedom behind it.
    """

    ratio: float
    deviation: float
    degrees: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return Student's interval on the logarithm."""
        reach = float(t.ppf((1 + confidence) / 2, self.degrees)) * self.deviation
        return self.ratio * math.exp(-reach), self.ratio * math.exp(reach)

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value of "at most ``bound``"."""
        return float(t.sf(math.log(self.ratio / bound) / self.deviation, self.degrees))

    def p_below(self, bound: float) -> float:
        """Return the one-sided p-value of "at least ``bound``"."""
        return float(t.cdf(math.log(self.ratio / bound) / self.deviation, self.degrees))


@dataclass(frozen=True)
class UnknownRatio:
    """Two medians from two runs without a history that would tell how far two equal runs lie apart."""

    ratio: float

    def interval(self, confidence: float = 0.95) -> None:  # noqa: ARG002
        """Return None."""
        return

    def p_above(self, bound: float) -> float:  # noqa: ARG002
        """Return 1: nothing can be rejected."""
        return 1.0

    def p_below(self, bound: float) -> float:  # noqa: ARG002
        """Return 1: nothing can be rejected."""
        return 1.0


def fewest_pairs(cases: int) -> int:
    """Return with how many pairs one case among so many can still be called different.

    The smallest two-sided p-value of Wilcoxon's test on ``n`` pairs is ``2 / 2^n``, which Benjamini and Hochberg's
    procedure multiplies by the number of cases where all others are the same.

    Args:
        cases: Cases that are judged together, at least one.

    Returns:
        The least ``n``; 6 for one case, 12 for a hundred.
    """
    return math.ceil(1 + math.log2(cases / FALSE_DISCOVERIES))


def verdicts(ratios: Sequence[Ratio], tolerance: float = TOLERANCE) -> list[Verdict]:
    """Judge many cases at once.

    A case is FASTER or SLOWER if "B's time is within the tolerance of A's, or beyond it on the other side" is rejected
    with false discoveries controlled over all cases; SAME if the 95 % interval lies within the tolerance; else UNCLEAR.

    Args:
        ratios: B's time over A's, by case.
        tolerance: Relative difference that does not matter.

    Returns:
        One verdict per case.
    """
    if not ratios:
        return []
    upper = 1 + tolerance
    slower = np.array([ratio.p_above(upper) for ratio in ratios])
    faster = np.array([ratio.p_below(1 / upper) for ratio in ratios])
    adjusted = false_discovery_control(np.minimum(1.0, 2 * np.minimum(slower, faster)))
    return [
        _verdict(ratio, upper, differs=bool(p <= FALSE_DISCOVERIES), slower=bool(above < below))
        for ratio, p, above, below in zip(ratios, adjusted, slower, faster, strict=True)
    ]


def _verdict(ratio: Ratio, upper: float, *, differs: bool, slower: bool) -> Verdict:
    if differs:
        return Verdict.SLOWER if slower else Verdict.FASTER
    interval = ratio.interval()
    if interval is not None and 1 / upper <= interval[0] and interval[1] <= upper:
        return Verdict.SAME
    return Verdict.UNCLEAR


@dataclass(frozen=True)
class Policy:
    """When a comparison fails a build.

    Attributes:
        verdict: Cases with this verdict fail it; BROKEN ones always do.
        least: Only from this relative difference on.
    """

    verdict: Verdict
    least: float = 0.0

    def fails(self, verdict: Verdict, ratio: float) -> bool:
        """Tell whether a case fails the build."""
        if verdict is Verdict.BROKEN:
            return True
        return verdict is self.verdict and max(ratio, 1 / ratio) >= 1 + self.least


def parse_policy(text: str) -> Policy:
    """Read ``slower``, ``slower:5%``, ``faster:5%``, ``unclear`` or ``missing``.

    Args:
        text: The command line's word.

    Returns:
        The policy.

    Raises:
        UserError: It is none of these.
    """
    form = re.fullmatch(r"(slower|faster|unclear|missing)(?::(\d+(?:\.\d+)?)%)?", text)
    if form is None:
        raise UserError(f"--fail-on {text!r}: write slower, slower:5%, faster:5%, unclear or missing")
    return Policy(Verdict(form[1].upper()), float(form[2] or 0) / 100)
