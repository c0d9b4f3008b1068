"""The cost of a training run, from the measured parts of its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd

from kfc_bench.report.names import APPROXIMATIONS
from kfc_bench.report.tables import TextTable, device_badge
from kfc_bench.report.units import ratio, seconds
from kfc_bench.results.frames import Results

SGD = "sgd"
PASSES = ("forward", "backward", "update")
AMORTISED = ("statistics", "refresh")
KEY = ["env_id", "network", "batch", "dtype", "precision"]
STATISTICS_EVERY, INVERSES_EVERY = 10, 20
EXAMPLES, EPOCHS = 50_000, 10
"""The run that the table shows: so many examples, the paper's CIFAR-10, so many times."""


@dataclass(frozen=True)
class StepParts:
    """Seconds of one training step's parts, each as if every step had it.

    Attributes:
        passes: Forward, backward and update.
        forward: The forward pass alone.
        statistics: The vectors' backward pass and the factors.
        refresh: The inverses.
        precondition: The product with them.
        clip: v^T F v and what follows; 0 without clipping.
    """

    passes: float
    forward: float
    statistics: float = 0.0
    refresh: float = 0.0
    precondition: float = 0.0
    clip: float = 0.0

    def step(self, statistics_every: int, inverses_every: int) -> float:
        """Return the seconds of a step, its statistics and inverses amortised over their periods T_s and T_f."""
        amortised = self.statistics / statistics_every + self.refresh / inverses_every
        return self.passes + amortised + self.precondition + self.clip

    def initialisation(self, batches: int) -> float:
        """Return the seconds of Algorithm 1's factors on a whole data set, and their inverses."""
        return batches * (self.forward + self.statistics) + self.refresh if self.statistics else 0.0

    def run(self, steps: int, batches: int, statistics_every: int, inverses_every: int) -> float:
        """Return the seconds of a run.

        Args:
            steps: Its steps.
            batches: Of the data set.
            statistics_every: T_s.
            inverses_every: T_f.

        Returns:
            Initialisation and all steps.
        """
        return self.initialisation(batches) + steps * self.step(statistics_every, inverses_every)


def step_parts(cost: pd.DataFrame) -> dict[tuple[object, ...], dict[str, StepParts]]:
    """Collect the parts of each network's steps.

    Args:
        cost: The cost frame.

    Returns:
        By environment, network, batch, dtype and precision the parts by optimizer, ``"kfc clipped"`` beside ``"kfc"``;
        optimizers that lack a part are left out.
    """
    networks = cost[cost["network"].notna() & (cost["status"] == "ok")]
    found: dict[tuple[object, ...], dict[str, StepParts]] = {}
    for key, group in networks.groupby(KEY, sort=False):
        times = {
            (str(row["approximation"]), str(row["phase"])): float(row["time_median_s"]) for _, row in group.iterrows()
        }
        if not all((SGD, phase) in times for phase in PASSES):
            continue
        passes, forward = sum(times[SGD, phase] for phase in PASSES), times[SGD, "forward"]
        parts = {SGD: StepParts(passes, forward)}
        clips = [seconds for (_, phase), seconds in times.items() if phase == "clip"]
        for name in APPROXIMATIONS:
            own = [times.get((name, phase)) for phase in (*AMORTISED, "precondition")]
            if None in own:
                continue
            statistics, refresh, precondition = (value for value in own if value is not None)
            parts[name] = StepParts(passes, forward, statistics, refresh, precondition)
            # What a step's length is measured by does not depend on the approximation.
            if clips:
                parts[f"{name} clipped"] = replace(parts[name], clip=clips[0])
        found[key] = parts
    return found


def _measured_step(results: Results, key: tuple[object, ...], optimizer: str) -> float | None:
    cost = results.cost
    rows = cost[(cost["phase"] == "step") & (cost["status"] == "ok")]
    for name, value in zip(KEY, key, strict=True):
        rows = rows[rows[name] == value]
    rows = rows[rows["approximation"] == optimizer.removesuffix(" clipped")]
    clipped = pd.to_numeric(rows["clip"]).fillna(0) > 0
    times = rows.loc[clipped == optimizer.endswith(" clipped"), "time_median_s"]
    return None if times.empty else float(times.iloc[0])


def run_table(results: Results) -> TextTable | None:
    """Show where a step's time goes, and what a run of ten epochs of 50,000 examples takes.

    Args:
        results: What was measured.

    Returns:
        One row per network, batch and optimizer; None where no step was taken apart.
    """
    rows = []
    for key, parts in step_parts(results.cost).items():
        _, network, batch, *_ = key
        batches = math.ceil(EXAMPLES / int(str(batch)))
        runs = {
            name: part.run(EPOCHS * batches, batches, STATISTICS_EVERY, INVERSES_EVERY) for name, part in parts.items()
        }
        for name, part in parts.items():
            total, measured = part.step(STATISTICS_EVERY, INVERSES_EVERY), _measured_step(results, key, name)
            amortised = [
                part.statistics / STATISTICS_EVERY,
                part.refresh / INVERSES_EVERY,
                part.precondition,
                part.clip,
            ]
            rows.append(
                [
                    str(network),
                    str(batch),
                    name,
                    seconds(part.passes),
                    *(seconds(value) if value else "-" for value in amortised),
                    seconds(total),
                    seconds(measured),
                    seconds(part.initialisation(batches)) if part.statistics else "-",
                    seconds(runs[name]),
                    ratio(runs[name] / runs[SGD]),
                ]
            )
    if not rows:
        return None
    header = ["network", "batch", "optimizer", "passes", "statistics", "refresh", "precondition", "clip"]
    header += ["parts together", "step, measured", "initialisation", f"{EPOCHS} epochs", "/ SGD"]
    return TextTable(
        f"Parts of a step, statistics every {STATISTICS_EVERY} and inverses every {INVERSES_EVERY} steps, and a run of "
        f"{EPOCHS} x {EXAMPLES:,} examples from them ({device_badge(results)})",
        header,
        rows,
    )
