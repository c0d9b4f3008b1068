"""Bursts of samples, the interval of their median, and when there are enough."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from scipy.stats import binom

from kfc_bench.measure.clock import Clock


@dataclass(frozen=True)
class StoppingRule:
    """When a case has been visited often enough.

    Attributes:
        half_width: Target half-width of the median's interval, as a share of the median.
        least_visits: Visits before the target may count.
        most_visits: Visits at the most, but no fewer than the six that an interval needs.
        seconds: Time spent in samples at the most, once ``least_visits`` are done.
    """

    half_width: float = 0.05
    least_visits: int = 12
    most_visits: int = 40
    seconds: float = 5.0


BURST_S = 5e-3
BURST_SAMPLES = 20


def median_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the distribution-free interval of the median between two order statistics.

    Args:
        values: Independent values: medians of visits, not samples within one.
        confidence: Least coverage.

    Returns:
        Lower and upper end; None where there are too few values (under 6 at 95 %).
    """
    ordered = sorted(values)
    rank = int(binom.ppf((1 - confidence) / 2, len(ordered), 0.5))
    while rank > 0 and binom.cdf(rank - 1, len(ordered), 0.5) > (1 - confidence) / 2:
        rank -= 1
    if rank == 0:
        return None
    return ordered[rank - 1], ordered[-rank]


@dataclass
class Visits:
    """The visits of one case so far.

    Attributes:
        rule: When to stop.
        bursts: Samples in seconds, by visit.
    """

    rule: StoppingRule
    bursts: list[list[float]] = field(default_factory=list)

    def visit(self, clock: Clock, sample: Callable[[Clock], float]) -> None:
        """Take one burst of samples: until it lasts 5 ms, at most 20 of them."""
        burst: list[float] = []
        while not burst or (sum(burst) < BURST_S and len(burst) < BURST_SAMPLES):
            burst.append(sample(clock))
        self.bursts.append(burst)

    @property
    def samples(self) -> int:
        """Number of samples in all visits."""
        return sum(len(burst) for burst in self.bursts)

    @property
    def medians(self) -> list[float]:
        """Each visit's median, in seconds."""
        return [statistics.median(burst) for burst in self.bursts]

    @property
    def median(self) -> float:
        """Median over visits of each visit's median, in seconds."""
        return statistics.median(self.medians)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the median over visits, in seconds."""
        return median_interval(self.medians)

    @property
    def stop_reason(self) -> str | None:
        """Why to stop: ``half_width``, ``visits`` or ``seconds``; None to go on."""
        interval = self.interval
        if interval is None:
            return None
        if (
            len(self.bursts) >= self.rule.least_visits
            and interval[1] - interval[0] <= 2 * self.rule.half_width * self.median
        ):
            return "half_width"
        if len(self.bursts) >= self.rule.most_visits:
            return "visits"
        if len(self.bursts) >= self.rule.least_visits and sum(map(sum, self.bursts)) >= self.rule.seconds:
            return "seconds"
        return None
