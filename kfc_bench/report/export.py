"""Files to take away: tidy CSV, and a wide one for papers."""

from __future__ import annotations

from pathlib import Path

from kfc_bench.report.comparison import comparison
from kfc_bench.report.files import write_text
from kfc_bench.report.performance_profile import performance_profiles
from kfc_bench.report.time_to_target import against_sgd
from kfc_bench.report.tuning import sensitivities, tuning_budgets
from kfc_bench.results.frames import Results
from kfc_bench.results.schema import COST_COLUMNS


def export_csv(results: Results, folder: Path) -> list[Path]:
    """Write every frame as tidy CSV, one file each, and what is made of them: ``comparison.csv`` (wide) and so on.

    Args:
        results: What was measured.
        folder: Where to.

    Returns:
        The files written; a frame without rows writes none.

    Raises:
        UserError: A file cannot be written.
    """
    frames = {
        "cost": results.cost[list(COST_COLUMNS)],
        "convergence": results.convergence,
        "trials": results.trials,
        "inverses": results.inverses,
        "profiles": results.profiles,
        "profile": results.profile,
        "fidelity": results.fidelity,
        "correlation": results.correlation.drop(columns="maps"),
        "comparison": comparison(results.cost, results.trials),
        "time_to_target": against_sgd(results),
        "performance_profile": performance_profiles(results),
        "sensitivity": sensitivities(results),
        "tuning": tuning_budgets(results),
    }
    written = []
    for name, frame in frames.items():
        if not frame.empty:
            write_text(frame.to_csv(index=False, lineterminator="\n"), folder / f"{name}.csv")
            written.append(folder / f"{name}.csv")
    return written
