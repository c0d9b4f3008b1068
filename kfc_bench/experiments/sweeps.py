"""A section of sweeps, turned into cases: defaults first, then each ``[[sweep]]``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kfc_bench.experiments.base import Case, KnownCases
from kfc_bench.experiments.table import Table


def swept(
    section: Table, take_defaults: Callable[[Table], object], cases_of: Callable[[Table], Iterable[Case]]
) -> KnownCases:
    """Read ``[defaults]`` and each ``[[sweep]]``.

    Args:
        section: The section.
        take_defaults: Takes every key that defaults may have.
        cases_of: Takes all keys of a sweep and makes its cases.

    Returns:
        The plan, cases that stand in two sweeps once.

    Raises:
        UserError: A key or value is not one of those known.
    """
    defaults = section.take("defaults", dict, {})
    sweeps = section.tables("sweep")
    section.done()
    known = Table(defaults, f"{section.where} [defaults]")
    take_defaults(known)
    known.done()
    found: dict[str, Case] = {}
    for index, values in enumerate(sweeps, start=1):
        for case in cases_of(Table(values, f"{section.where} [[sweep]] {index}", defaults)):
            found.setdefault(case.case_id, case)
    return KnownCases(tuple(found.values()))
