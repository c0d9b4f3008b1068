"""``--filter key=value``: which cases to run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfc_bench.errors import UserError
from kfc_bench.experiments.table import nearest
from kfc_bench.results.schema import COLUMNS

RECORDED = frozenset(column for columns in COLUMNS.values() for column in columns)
"""Columns of any record."""


@dataclass(frozen=True)
class Filter:
    """A column and the values that pass."""

    key: str
    values: tuple[str, ...]


def parse_filter(text: str, known: Collection[str] = RECORDED) -> Filter:
    """Read ``key=value`` or ``key=value,value``.

    Args:
        text: The command line's word.
        known: Columns that there are.

    Returns:
        The filter.

    Raises:
        UserError: It has no ``=``, or there is no such column.
    """
    key, separator, values = text.partition("=")
    if not separator or not values:
        raise UserError(f"--filter {text!r}: write key=value, or key=value,value for several")
    if key not in known:
        raise UserError(f"--filter {text!r}: no record has a column {key!r}{nearest(key, sorted(known))}")
    return Filter(key, tuple(values.split(",")))


def matches(columns: Mapping[str, Any], filters: Sequence[Filter]) -> bool:
    """Tell whether a case's columns pass all filters."""
    return all(str(columns.get(wanted.key)) in wanted.values for wanted in filters)
