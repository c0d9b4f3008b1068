"""Claims that numbers settle, and the verdict that claims give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

DATA = {"cifar10": "CIFAR-10", "svhn": "SVHN", "fashion": "Fashion-MNIST"}


class Verdict(StrEnum):
    """What became of an item of the paper."""

    REPRODUCED = "reproduced"
    PARTLY = "partly"
    NOT = "not reproduced"
    NOT_RUN = "not run"
    HELD = "held by tests"


@dataclass(frozen=True)
class Claim:
    """A statement about numbers.

    Attributes:
        words: What was found, with its numbers.
        holds: Whether it is as in the paper; None where too few seeds cannot tell.
        condition: Whether it is only what the other claims rest on: it counts against them where it does not hold, and
            for nothing where it does.
    """

    words: str
    holds: bool | None
    condition: bool = False

    def __str__(self) -> str:
        """Return the words and the answer."""
        return f"{self.words}: {'undecided' if self.holds is None else 'yes' if self.holds else 'no'}"


@dataclass(frozen=True)
class Finding:
    """What the results say about an item.

    Attributes:
        verdict: The verdict.
        claims: What it was made from.
        setting: What was run, in words.
        runs: Run ids of the records.
        reason: Why the verdict is not a better one, where its claims do not say so.
    """

    verdict: Verdict
    claims: tuple[Claim, ...] = ()
    setting: str = ""
    runs: tuple[str, ...] = ()
    reason: str = ""


def absent(*data: str) -> str:
    """Say that data sets were not run.

    Args:
        data: Their keys in `DATA`.

    Returns:
        Words.
    """
    return f"not run on {' and '.join(DATA[name] for name in data)}: data absent"


def judge(
    claims: Sequence[Claim], setting: str, runs: Sequence[str], missing: Sequence[str] = (), *, instead: bool = True
) -> Finding:
    """Turn claims into a verdict.

    Args:
        claims: What the numbers say.
        setting: What was run.
        runs: Run ids of the records.
        missing: The paper's data sets that were not run.
        instead: Whether Fashion-MNIST stands in for them.

    Returns:
        Reproduced if all claims hold on the paper's own data, not reproduced if none of the decided ones does, partly
        otherwise; not run if no claim but conditions that hold could be decided.
    """
    counted = [claim.holds for claim in claims if not (claim.condition and claim.holds)]
    decided = [holds for holds in counted if holds is not None]
    if not decided:
        return Finding(Verdict.NOT_RUN, tuple(claims), setting, tuple(runs), "too few numbers for a verdict")
    if not any(decided):
        verdict = Verdict.NOT
    elif len(decided) == len(counted) and all(decided) and not missing:
        verdict = Verdict.REPRODUCED
    else:
        verdict = Verdict.PARTLY
    reason = (f"on {DATA['fashion']}; " if instead else "") + absent(*missing) if missing else ""
    return Finding(verdict, tuple(claims), setting, tuple(runs), reason)
