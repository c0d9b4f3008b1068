"""What ``"auto"``'s choices cost: predicted and measured times of the input factor's implementations, side by side."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import nnls

from kfc_bench.report.operators import operator_rows
from kfc_bench.report.tables import TextTable
from kfc_bench.report.units import ratio, seconds
from kfc_kernels import ConvGeometry
from kfc_kernels.dispatch import Case
from kfc_kernels.input_factor import OPERATOR, WORK
from kfc_kernels.rates import Rates

OPERATOR_NAME = "input_factor"


@dataclass(frozen=True)
class Choice:
    """One layer and batch on which several implementations were timed.

    Attributes:
        layer: The layer's name.
        case: What dispatch is told.
        measured: Seconds of each implementation.
        predicted: The model's seconds of each.
    """

    layer: str
    case: Case
    measured: dict[str, float]
    predicted: dict[str, float]

    @property
    def chosen(self) -> str:
        """The implementation that is predicted to be fastest."""
        return min(self.predicted, key=lambda name: self.predicted[name])

    @property
    def regret(self) -> float:
        """The chosen implementation's time over the fastest one's; 1 where the choice was right."""
        return self.measured[self.chosen] / min(self.measured.values())


def _per_axis(text: object, axes: int) -> list[str]:
    words = str(text).split("x")
    return words * axes if len(words) == 1 else words


def layer_geometry(row: Mapping[Hashable, Any]) -> ConvGeometry:
    """Rebuild a layer from its record.

    Args:
        row: A row of the cost frame.

    Returns:
        The layer, with zeros padding.
    """
    size = tuple(int(word) for word in str(row["size"]).split("x"))

    def numbers(name: str) -> tuple[int, ...]:
        return tuple(int(word) for word in _per_axis(row[name], len(size)))

    sides = [[int(side) for side in word.split("+")] for word in _per_axis(row["padding"], len(size))]
    return ConvGeometry(
        in_channels=int(row["in_channels"]),
        out_channels=int(row["out_channels"]),
        in_size=size,
        kernel=numbers("kernel"),
        stride=numbers("stride"),
        padding=tuple((pair[0], pair[-1]) for pair in sides),
        dilation=numbers("dilation"),
        groups=int(row["groups"]),
        bias=bool(row["bias"]),
    )


def choices(cost: pd.DataFrame) -> list[Choice]:
    """Set predictions beside measured times.

    Args:
        cost: The cost frame.

    Returns:
        One choice per layer and batch on which at least two implementations of the input factor were timed.
    """
    rows = operator_rows(cost)
    rows = rows[
        (rows["operator"] == OPERATOR_NAME) & (rows["status"] == "ok") & rows["implementation"].isin(list(WORK))
    ]
    found = []
    for _, group in rows.groupby(["layer", "batch", "dtype", "device"], sort=False):
        records = group.to_dict("records")
        first = records[0]
        dtype, device = getattr(torch, str(first["dtype"])), torch.device(str(first["device"]))
        case = Case(layer_geometry(first), dtype, device, int(first["batch"]))
        measured = {str(record["implementation"]): float(record["time_median_s"]) for record in records}
        entries = {entry.name: entry for entry in OPERATOR.table}
        predicted = {name: entries[name].predict(case) for name in measured}
        if len(measured) > 1:
            found.append(Choice(str(first["layer"]), case, measured, predicted))
    return found


def fitted(found: list[Choice]) -> dict[str, Rates]:
    """Fit the model's rates to measured times: least squares of relative errors, no rate negative.

    Args:
        found: What was measured, on one CPU.

    Returns:
        The rates of each implementation.
    """
    rates = {}
    for name in {name for choice in found for name in choice.measured}:
        timed = [choice for choice in found if name in choice.measured]
        counts = [WORK[name](choice.case) for choice in timed]
        parts = np.array([[work.flops, work.bytes, work.calls] for work in counts])
        times = np.array([choice.measured[name] for choice in timed])
        costs, _ = nnls(parts / times[:, None], np.ones(len(times)))
        flops, moved = (1 / cost if cost else math.inf for cost in costs[:2])
        rates[name] = Rates(flops, moved, float(costs[2]))
    return rates


def regret(found: list[Choice]) -> tuple[float, float]:
    """Return the geometric mean of regrets, and the worst."""
    each = [choice.regret for choice in found]
    return math.exp(sum(map(math.log, each)) / len(each)), max(each)


def choice_table(found: list[Choice], where: str) -> TextTable:
    """Show each choice, the worst first.

    Args:
        found: The choices.
        where: On what they were measured.

    Returns:
        The table.
    """
    mean, worst = regret(found)
    names = [name for name in WORK if any(name in choice.measured for choice in found)]
    rows = [
        [
            f"{choice.layer}, batch {choice.case.batch}",
            choice.chosen,
            ratio(choice.regret),
            *(
                f"{seconds(choice.measured[name])} ({seconds(choice.predicted[name])})"
                if name in choice.measured
                else "-"
                for name in names
            ),
        ]
        for choice in sorted(found, key=lambda choice: -choice.regret)
    ]
    summary = f"{ratio(mean)} in the mean, {ratio(worst)} at worst"
    title = f"What auto chooses, and its time over the fastest's: {summary} ({where})"
    return TextTable(title, ["layer", "auto", "regret", *(f"{name}: measured (predicted)" for name in names)], rows)
