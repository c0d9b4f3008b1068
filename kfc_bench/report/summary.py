"""The summary of results: its tables, and printing them."""

from __future__ import annotations

from rich.console import Console

from kfc_bench.report.contests import contest_tables
from kfc_bench.report.correlation import correlation_tables
from kfc_bench.report.fidelity import fidelity_tables
from kfc_bench.report.inverses import family_table, refresh_table
from kfc_bench.report.lead import lead_tables
from kfc_bench.report.names import APPROXIMATIONS
from kfc_bench.report.performance_profile import profile_table
from kfc_bench.report.profiles import steps_table
from kfc_bench.report.tables import (
    TextTable,
    comparison_table,
    cost_table,
    feasible_table,
    health_line,
)
from kfc_bench.report.target_tables import epoch_table, target_tables
from kfc_bench.report.training_run import run_table
from kfc_bench.report.tuning import budget_table, chosen_table, sensitivity_table
from kfc_bench.results.frames import Results


def tables(results: Results) -> list[TextTable]:
    """Return the summary's tables, those that have rows."""
    approximations = [name for name in APPROXIMATIONS if name in set(results.cost["approximation"])]
    found = (
        cost_table(results, approximations),
        comparison_table(results),
        *target_tables(results),
        profile_table(results),
        epoch_table(results),
        chosen_table(results),
        sensitivity_table(results, "damping"),
        budget_table(results),
        run_table(results),
        steps_table(results),
        feasible_table(results),
        family_table(results),
        refresh_table(results),
    )
    there = [table for table in found if table is not None]
    looked_at = [*fidelity_tables(results), *correlation_tables(results)]
    return [*lead_tables(results), *contest_tables(results), *there, *looked_at]


def print_summary(results: Results, console: Console) -> None:
    """Print the tables and the count by status.

    Args:
        results: What was measured.
        console: Where to.
    """
    for table in tables(results):
        console.print(table.to_rich())
    console.print(health_line(results), highlight=False)
