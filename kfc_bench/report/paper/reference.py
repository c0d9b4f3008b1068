"""What the paper shows, read from `reference.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

MINUTE = 60.0


@dataclass(frozen=True)
class Level:
    """An error that the paper says when it is reached.

    Attributes:
        metric: The curve's column.
        level: The error rate.
        factor: How many times earlier KFC-pre reaches it than SGD.
    """

    metric: str
    level: float
    factor: float


@dataclass(frozen=True)
class Item:
    """A figure, table or statement of the paper.

    Attributes:
        key: Its short name.
        title: Its place in the paper, and its subject.
        shows: Its numbers, in words.
        read: How they were read.
        rule: Name of the rule in `rules.RULES` that the verdict is made by.
        data: The data set, where one rule serves several.
        part: The part of `suites/paper.toml` that it needs, likewise.
        clock: ``"seconds"`` or ``"step"``, likewise.
        metrics: Columns of the curve that are judged.
        levels: Levels that the paper states.
        tests: Test files that hold it.
    """

    key: str
    title: str
    shows: str
    read: str
    rule: str
    data: str = ""
    part: str = ""
    clock: str = ""
    metrics: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """The paper's numbers.

    Attributes:
        rules: Each rule in words, by name.
        deviations: How what is run differs from the paper, by the rule's name.
        items: In the paper's order.
        curves: Tidy: ``part``, ``data``, ``optimizer``, ``metric``, ``clock`` (seconds or updates), ``value``.
    """

    rules: dict[str, str]
    deviations: dict[str, str]
    items: tuple[Item, ...]
    curves: pd.DataFrame

    def curve(self, part: str, data: str, optimizer: str, metric: str) -> pd.DataFrame:
        """Return one digitised curve, by rising ``clock``; empty where the paper has none."""
        wanted = {"part": part, "data": data, "optimizer": optimizer, "metric": metric}
        own = self.curves[(self.curves[list(wanted)] == pd.Series(wanted)).all(axis=1)]
        return own.reset_index(drop=True)


def _tidy(curve: dict[str, Any]) -> pd.DataFrame:
    table = pd.DataFrame({name: values for name, values in curve.items() if isinstance(values, list)}).astype(float)
    table["clock"] = table.pop("minutes") * MINUTE if "minutes" in table else table.pop("updates")
    long = table.melt("clock", var_name="series").dropna()
    split = long["series"].str.rsplit("_", n=1, expand=True)
    return long.assign(
        part=curve["part"], data=curve["data"], optimizer=split[0], metric=split[1] + f"_{curve['metric']}"
    ).drop(columns="series")


@cache
def reference() -> Reference:
    """Read the paper's numbers."""
    raw = tomllib.loads((Path(__file__).parent / "reference.toml").read_text())
    items = [
        Item(
            **{
                **item,
                "metrics": tuple(item.get("metrics", ())),
                "tests": tuple(item.get("tests", ())),
                "levels": tuple(Level(**level) for level in item.get("levels", ())),
            }
        )
        for item in raw["item"]
    ]
    return Reference(
        raw["rules"], raw["deviations"], tuple(items), pd.concat(map(_tidy, raw["curve"]), ignore_index=True)
    )
